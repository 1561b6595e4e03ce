package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// WorkstationName is the name of the host that deploys.
const WorkstationName = "workstation"

// Workstation returns the world's deploying host, created and booted if it is not. It has
// Nix with its daemon, the deployer's private key, World.BinDir as /hdeploy and the
// repository, read-only, as /repo.
func (w *World) Workstation(ctx context.Context) (*Host, error) {
	unlock, err := lockFile(ctx, filepath.Join(w.dir(), "workstation.lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	host, err := w.Host(WorkstationName)
	if errors.Is(err, ErrNoHost) || err == nil && !host.Ready() {
		host, err = w.newWorkstation(ctx)
	}
	if err != nil {
		return nil, err
	}
	return host, host.Boot(ctx)
}

func (w *World) newWorkstation(ctx context.Context) (*Host, error) {
	key, err := os.ReadFile(w.base.deployerKey())
	if err != nil {
		return nil, fmt.Errorf("read deployer key: %v", err)
	}
	record := hostRecord{
		Name: WorkstationName, Kind: kindWorkstation, Lower: w.base.lower(),
		Binds: []string{"--bind=" + w.BinDir() + ":/hdeploy", "--bind-ro=" + w.repo + ":/repo"},
	}
	host, err := w.create(ctx, record, func(_ *Host, root *heldRoot) error {
		public, err := root.readFile(templateDir + "/deployer.pub")
		return errors.Join(err,
			root.writeFile("/root/.ssh/id_ed25519", key, 0o600),
			root.writeFile("/root/.ssh/id_ed25519.pub", public, 0o644),
		)
	}, nil)
	if err != nil {
		return nil, err
	}
	return host, w.updateHosts(ctx)
}

// updateHosts lets the workstation, if there is one, find all hosts by name.
func (w *World) updateHosts(ctx context.Context) error {
	unlock, err := lockRun(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	workstation, err := w.Host(WorkstationName)
	if errors.Is(err, ErrNoHost) || err == nil && !workstation.Ready() {
		return nil
	}
	if err != nil {
		return err
	}
	hosts, err := w.Hosts()
	if err != nil {
		return err
	}
	var names strings.Builder
	names.WriteString(localHosts)
	for _, host := range hosts {
		fmt.Fprintf(&names, "%s %s\n", host.Address, host.Name)
	}
	return workstation.WriteFile(ctx, "/etc/hosts", []byte(names.String()), 0o644)
}

// NewFlake copies the lab's flake to dir of the host, which must not exist. Only the
// workstation and NixOS-shaped hosts have it.
func (h *Host) NewFlake(ctx context.Context, dir string) error {
	script := `set -eu; mkdir -p "$(dirname "$2")"; test ! -e "$2"; cp -R "$1" "$2"`
	result, err := h.Exec(ctx, "sh", "-c", script, "new-flake", templateDir, dir)
	if err != nil {
		return err
	}
	if result.Code != 0 {
		return fmt.Errorf("copy flake to %s: exit code %d: %s", dir, result.Code, result.Stderr)
	}
	return nil
}

// WriteHostConfig sets the configuration of one host in the flake at dir: value, or JSON
// as it is where value is a string or bytes, becomes hosts/NAME.json.
func (h *Host) WriteHostConfig(ctx context.Context, dir, name string, value any) error {
	var data []byte
	switch value := value.(type) {
	case string:
		data = []byte(value)
	case []byte:
		data = value
	default:
		var err error
		if data, err = json.MarshalIndent(value, "", "  "); err != nil {
			return fmt.Errorf("encode configuration of %s: %v", name, err)
		}
	}
	return h.WriteFile(ctx, path.Join(dir, "hosts", name+".json"), data, 0o644)
}
