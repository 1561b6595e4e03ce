package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/lab"
)

const (
	hostName = "web"
	// dir is where the deployer works on the workstation; flake is what both sides
	// deploy, revisions the same flake with all systems that will be needed.
	dir       = "/root/bench"
	flake     = dir + "/flake"
	revisions = dir + "/revisions"
	attribute = "nixosConfigurations." + hostName + ".config.system.build.toplevel"
)

// units are what both sides look at after a deployment.
var units = []string{"opnix-secrets.service", "hercules-ci-agent.service"}

// bench is the world that everything is measured in.
type bench struct {
	options
	world       *lab.World
	workstation *lab.Host
	host        *lab.Host
	// edits counts the changes of the flake.
	edits int
	// closures are the store paths of the systems that were built, by revision.
	closures map[string]string
	// peak is the most memory that an hdeploy used so far, in KiB.
	peak int64
	// spent are the times of hdeploy's phases in the figure at hand.
	spent map[string][]time.Duration
	stops []func()
}

// settings is one hosts/NAME.json of the lab's flake.
type settings map[string]any

func system(revision string) settings {
	return settings{"loader": lab.SystemdBoot, "hostName": hostName, "revision": revision, "opnix": settings{}, "hercules": settings{}}
}

// payload is a system with 800 MiB that cannot be compressed, in several hundred paths.
func payload() settings {
	s := system("payload")
	s["payloadMiB"], s["payloadPaths"] = 800, 320
	return s
}

func open(ctx context.Context, o options) (b *bench, err error) {
	say("opening the world")
	b = &bench{options: o, closures: map[string]string{}, spent: map[string][]time.Duration{}}
	if b.world, err = lab.OpenFresh(ctx, "bench"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	if err := install(o.hdeploy, filepath.Join(b.world.BinDir(), "hdeploy")); err != nil {
		return nil, err
	}
	if b.workstation, err = b.world.Workstation(ctx); err != nil {
		return nil, err
	}
	if b.host, err = b.world.NewHost(ctx, hostName, lab.HostOptions{}); err != nil {
		return nil, err
	}
	return b, b.prepareFlakes(ctx)
}

// close removes the world, also when the run was interrupted.
func (b *bench) close() error {
	for _, stop := range b.stops {
		stop()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	return b.world.Close(ctx)
}

func install(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("read hdeploy: %v", err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return fmt.Errorf("install hdeploy: %v", err)
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("install hdeploy: %v", err)
	}
	return nil
}

func (b *bench) prepareFlakes(ctx context.Context) error {
	for _, dir := range []string{flake, revisions} {
		if err := b.workstation.NewFlake(ctx, dir); err != nil {
			return err
		}
	}
	return nil
}

// build builds systems and keeps their store paths by their revisions. The flake that is
// deployed later has each of them under the host's own name, which makes no other system.
func (b *bench) build(ctx context.Context, systems map[string]settings) error {
	command := []string{"nix", "build", "--no-link"}
	for revision, s := range systems {
		if err := b.workstation.WriteHostConfig(ctx, revisions, revision, s); err != nil {
			return err
		}
		command = append(command, fmt.Sprintf("%s#nixosConfigurations.%s.config.system.build.toplevel", revisions, revision))
	}
	if _, err := b.onWorkstation(ctx, command...); err != nil {
		return fmt.Errorf("build the systems: %w", err)
	}
	paths, err := b.onWorkstation(ctx, "nix", "eval", "--json", revisions+"#nixosConfigurations",
		"--apply", "builtins.mapAttrs (name: host: host.config.system.build.toplevel.outPath)")
	if err != nil {
		return fmt.Errorf("name the systems: %w", err)
	}
	if err := json.Unmarshal([]byte(paths), &b.closures); err != nil {
		return fmt.Errorf("name the systems: %v", err)
	}
	return nil
}

// edit puts a system into the flake. Each edit makes another source tree, so that neither
// side finds its evaluation in Nix's cache.
func (b *bench) edit(ctx context.Context, s settings) error {
	b.edits++
	note := fmt.Sprintf("edit %d\n", b.edits)
	return errors.Join(
		b.workstation.WriteFile(ctx, flake+"/edits", []byte(note), 0o644),
		b.workstation.WriteHostConfig(ctx, flake, hostName, s),
	)
}

// line is a way from the workstation to the host.
type line struct {
	address, port string
	// config is the deploy.toml for it.
	config string
}

// connect makes a way with the added round trip time, and lets both sides know the host
// at its end.
func (b *bench) connect(ctx context.Context, rtt time.Duration) (line, error) {
	l := line{address: b.host.Address, port: "22", config: fmt.Sprintf("%s/deploy-%v.toml", dir, rtt)}
	known := l.address
	if rtt > 0 {
		address, stop, err := b.world.DelayProxy(context.WithoutCancel(ctx), net.JoinHostPort(l.address, l.port), rtt)
		if err != nil {
			return l, err
		}
		b.stops = append(b.stops, stop)
		if l.address, l.port, err = net.SplitHostPort(address); err != nil {
			return l, fmt.Errorf("read the proxy's address: %v", err)
		}
		known = fmt.Sprintf("[%s]:%s", l.address, l.port)
	}
	toml := fmt.Sprintf(`flake = "./flake"

[hosts.%s]
address   = %q
port      = %s
host_keys = [%q]
probes    = ["units"]

[probes.units]
kind = "unit"
unit = ["%s"]
`, hostName, l.address, l.port, b.host.HostKey(), strings.Join(units, `", "`))
	return l, errors.Join(
		b.workstation.WriteFile(ctx, l.config, []byte(toml), 0o600),
		b.workstation.WriteFile(ctx, "/root/.ssh/known_hosts", []byte(known+" "+b.host.HostKey()+"\n"), 0o600),
	)
}

func (b *bench) onWorkstation(ctx context.Context, command ...string) (string, error) {
	return output(ctx, b.workstation, command...)
}

func (b *bench) onHost(ctx context.Context, script string, args ...string) (string, error) {
	return output(ctx, b.host, append([]string{"sh", "-euc", script, "sh"}, args...)...)
}

// output runs a command that must succeed and returns what it printed.
func output(ctx context.Context, host *lab.Host, command ...string) (string, error) {
	result, err := host.Exec(ctx, command...)
	if err != nil {
		return "", err
	}
	if result.Code != 0 {
		return "", fmt.Errorf("%s on %s: exit code %d: %s", command[0], host.Name, result.Code, lastLines(result.Stderr))
	}
	return strings.TrimSpace(result.Stdout), nil
}

func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}

// say tells on stderr what goes on: a run takes minutes.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}
