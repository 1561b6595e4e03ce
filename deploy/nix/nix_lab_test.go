//go:build lab

package nix

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// These tests run a real Nix, as root and without a build sandbox, in a store
// that the lab can lose. They need nix and a static busybox in PATH.

func toplevelOf(host string) Attribute {
	return Attribute{Host: host, Path: "nixosConfigurations." + host + ".config.system.build.toplevel"}
}

func realNix(t testing.TB) (*Nix, string) {
	t.Helper()
	n, err := Find(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return n, newFlake(t)
}

func newFlake(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/flake")); err != nil {
		t.Fatal(err)
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "tools"), 0o755); err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(busybox)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(filepath.Join(dir, "tools", "busybox"), os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestLabEvaluate(t *testing.T) {
	n, flake := realNix(t)
	hosts := []Attribute{
		toplevelOf("web1"), toplevelOf("web2"), toplevelOf("disabled"), toplevelOf("warns"), toplevelOf("ifd"),
		{Host: "tool", Path: "packages.x86_64-linux.tool"},
	}
	var seen recorder
	got, err := n.Evaluate(context.Background(), flake, hosts, seen.add)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(hosts) {
		t.Fatalf("%d hosts in the result, want %d", len(got), len(hosts))
	}
	web1 := got["web1"]
	if !strings.HasSuffix(web1.DrvPath, "-nixos-system-web1-25.05.drv") || !strings.HasSuffix(web1.OutPath, "-nixos-system-web1-25.05") ||
		web1.System != "x86_64-linux" || web1.HostName != "web1" || web1.Output != "out" {
		t.Errorf("web1 is %+v", web1)
	}
	if got["tool"].Expectations != nil || got["tool"].HostName != "" {
		t.Errorf("a package has expectations: %+v", got["tool"])
	}
	var e Expectations
	if err := json.Unmarshal(got["web2"].Expectations, &e); err != nil {
		t.Fatal(err)
	}
	secrets := map[string]Secret{
		"joinToken": {"/var/lib/hercules-ci-agent/secrets/cluster-join-token.key", "hercules-ci-agent", "hercules-ci-agent", "0400", []string{"hercules-ci-agent"}, []string{}},
		"caches":    {"/var/lib/opnix/secrets/caches", "root", "root", "0600", []string{"hercules-ci-agent", "nginx"}, []string{"/etc/caches"}},
		"placed":    {"/var/lib/opnix/secrets/lab/me/file{gone}", "", "", "", []string{}, []string{}},
	}
	if !reflect.DeepEqual(e.Services.OnePassword.Secrets, secrets) || e.Services.OnePassword.TokenFile != "/etc/opnix-token" {
		t.Errorf("OpNix: %+v", e.Services.OnePassword)
	}
	if o := e.Services.OnePassword; o.Version != "0.10.1" || o.ConfigFiles != 1 || !slices.Equal(o.Services, []string{"postgresql"}) {
		t.Errorf("OpNix: %+v", o)
	}
	if s := e.Services.HerculesCI.Settings; s.ClusterJoinTokenPath != "/var/lib/hercules-ci-agent/secrets/cluster-join-token.key" || s.BinaryCachesPath != "" {
		t.Errorf("agent: %+v", s)
	}
	if h := e.Services.HerculesCI; h.RestartSec != "120" || h.HostName != "web2" {
		t.Errorf("agent: %+v", h)
	}
	if !slices.Equal(e.Units, []string{"opnix-secrets", "hercules-ci-agent"}) {
		t.Errorf("units: %v", e.Units)
	}
	if !slices.Contains(seen.notes(), "info: trace: a trace") || slices.ContainsFunc(seen.notes(), func(s string) bool { return strings.Contains(s, "hdeploy evaluates") }) {
		t.Errorf("notes: %q", seen.notes())
	}
	if last := seen.last(); last.Unit != "hosts" || last.Done != 6 || last.Total != 6 {
		t.Errorf("last count: %+v", last)
	}
}

func TestLabEvaluateQuotesNames(t *testing.T) {
	n, flake := realNix(t)
	host := `we"ird ${x}.$${host}\`
	w := wanted{host: host, attribute: "x", path: []string{"nixosConfigurations", host, "config", "system", "build", "toplevel"}, configEnd: 3}
	e := evaluation{nix: n, flake: flake, total: 1}
	a, err := e.ask(context.Background(), []wanted{w})
	if err != nil {
		t.Fatal(err)
	}
	result := map[string]Evaluated{}
	if err := a.into(result, []wanted{w}); err != nil {
		t.Fatal(err)
	}
	if result[host].HostName != "weird" {
		t.Errorf("got %+v", result)
	}
}

func TestLabEvaluateByOutput(t *testing.T) {
	n, flake := realNix(t)
	file := filepath.Join(flake, "flake.nix")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// Unlike "#.", the old way looks there.
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), "legacyPackages = never;", "", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	list, err := parseAttributes([]Attribute{{Host: "a", Path: "packages.x86_64-linux.tool"}, {Host: "b", Path: "packages.x86_64-linux.tool"}})
	if err != nil {
		t.Fatal(err)
	}
	// The way of Nix 2.18 must work in later ones too, or it is not tested at all.
	e := evaluation{nix: n, flake: flake, total: 2}
	a, err := e.askByOutput(context.Background(), list)
	if err != nil || len(a.Hosts) != 2 {
		t.Fatalf("%+v, %v", a, err)
	}
	list[0].path[0] = "nothing"
	_, err = e.askByOutput(context.Background(), list[:1])
	var unknown *UnknownAttributeError
	if !errors.As(err, &unknown) || unknown.Attribute != "nothing" {
		t.Errorf("got %v", err)
	}
}

func TestLabEvaluateFailures(t *testing.T) {
	n, flake := realNix(t)
	cases := map[string]struct {
		kind  Kind
		cause string
	}{
		"loops":    {Recursion, "infinite recursion encountered"},
		"throws":   {"", "Failed assertions: - a root password is missing"},
		"notBuilt": {"", "attribute 'system' missing"},
		"number":   {"", "is not a derivation"},
	}
	for host, want := range cases {
		_, err := n.Evaluate(context.Background(), flake, []Attribute{toplevelOf("web1"), toplevelOf(host)}, nil)
		var failed *Error
		if !errors.As(err, &failed) {
			t.Errorf("%s: got %v", host, err)
			continue
		}
		if failed.Kind != want.kind || failed.Host != host || !strings.Contains(failed.Cause, want.cause) || !strings.Contains(failed.Output, "error:") {
			t.Errorf("%s: got %+v", host, failed)
		}
	}
}

func TestLabUnknownHosts(t *testing.T) {
	n, flake := realNix(t)
	_, err := n.Evaluate(context.Background(), flake, []Attribute{toplevelOf("loops"), toplevelOf("wbe1"), toplevelOf("web9"), {Host: "x", Path: "nope.x.config.y"}}, nil)
	var unknown *UnknownAttributeError
	if !errors.As(err, &unknown) || unknown.Host != "wbe1" || unknown.Attribute != "nixosConfigurations.wbe1" || !slices.Contains(unknown.Available, "web1") {
		t.Fatalf("got %v", err)
	}
	if text := err.Error(); !strings.Contains(text, "web9") || !strings.Contains(text, "nope") {
		t.Errorf("not all unknown hosts are named: %s", text)
	}
}

func TestLabBrokenFlakes(t *testing.T) {
	n, _ := realNix(t)
	for name, c := range map[string]struct {
		flake string
		kind  Kind
	}{
		"syntax": {"{ outputs = { self }: { a = [ 1 2 }; ", Syntax},
		"none":   {"", NoFlake},
	} {
		dir := t.TempDir()
		if c.flake != "" {
			if err := os.WriteFile(filepath.Join(dir, "flake.nix"), []byte(c.flake), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		_, err := n.Evaluate(context.Background(), dir, []Attribute{toplevelOf("web1")}, nil)
		var failed *Error
		if !errors.As(err, &failed) || failed.Kind != c.kind {
			t.Errorf("%s: got %+v", name, err)
		}
	}
}

func TestLabBuildAndCopy(t *testing.T) {
	n, flake := realNix(t)
	ctx := context.Background()
	got, err := n.Evaluate(ctx, flake, []Attribute{toplevelOf("web1"), toplevelOf("web2"), toplevelOf("broken"), toplevelOf("foreign")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	derivation := func(host string) Derivation { return Derivation{Host: host, DrvPath: got[host].DrvPath} }
	links := t.TempDir()
	var seen recorder
	if err := n.Build(ctx, []Derivation{derivation("web1"), derivation("web2"), derivation("web1")}, links, seen.add); err != nil {
		t.Fatal(err)
	}
	for link, host := range map[string]string{"system": "web1", "system-1": "web2"} {
		if target, err := os.Readlink(filepath.Join(links, link)); err != nil || target != got[host].OutPath {
			t.Errorf("link %s: %s, %v", link, target, err)
		}
	}

	var failed *Error
	if err := n.Build(ctx, []Derivation{derivation("broken")}, "", nil); !errors.As(err, &failed) ||
		failed.Kind != BuilderFailed || !slices.Equal(failed.Log, []string{"about to fail"}) {
		t.Errorf("broken: %+v", failed)
	}
	if err := n.Build(ctx, []Derivation{derivation("foreign")}, "", nil); !errors.As(err, &failed) || failed.Kind != WrongSystem {
		t.Errorf("foreign: %+v", failed)
	}
	gone := Derivation{Host: "x", DrvPath: "/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-gone.drv"}
	if err := n.Build(ctx, []Derivation{gone}, "", nil); !errors.As(err, &failed) || failed.Kind != Collected {
		t.Errorf("gone: %+v", failed)
	}

	sizes, err := n.Closure(ctx, got["web2"].OutPath)
	if err != nil || len(sizes) != 3 || sizes.Total() < 500<<10 {
		t.Fatalf("closure: %v, %v", sizes, err)
	}
	socket := startDaemon(t, n)
	var copied recorder
	if err := n.Copy(ctx, Transfer{To: Store{URI: "unix://" + socket}, Paths: []string{got["web2"].OutPath}, Sizes: sizes}, copied.add); err != nil {
		t.Fatal(err)
	}
	if last := copied.last(); last.Paths != 3 || last.PathsTotal != 3 || last.Done != sizes.Total() || last.Total != sizes.Total() {
		t.Errorf("copy: %+v, want %d bytes", last, sizes.Total())
	}
	copied = recorder{}
	start := time.Now()
	if err := n.Copy(ctx, Transfer{To: Store{URI: "unix://" + socket}, Paths: []string{got["web2"].OutPath}, Sizes: sizes}, copied.add); err != nil || copied.last().Paths != 0 {
		t.Errorf("copy again: %+v, %v", copied.last(), err)
	}
	t.Logf("a copy with nothing to do took %v", time.Since(start))
	if err := n.Copy(ctx, Transfer{To: Store{URI: "unix:///nowhere/s"}, Paths: []string{got["web2"].OutPath}}, nil); !errors.As(err, &failed) || failed.Kind != Unreachable {
		t.Errorf("no daemon: %+v", failed)
	}
}

// startDaemon serves an empty store on a socket.
func startDaemon(t *testing.T, n *Nix) string {
	t.Helper()
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	daemon := exec.Command(n.Program, "--extra-experimental-features", "nix-command", "daemon", "--store", "local?root="+dir)
	daemon.Env = append(os.Environ(), "NIX_DAEMON_SOCKET_PATH="+socket)
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = daemon.Process.Kill(); _ = daemon.Wait() })
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			return socket
		}
		if time.Now().After(deadline) {
			t.Fatal("the daemon made no socket")
		}
	}
}

func TestLabCancelBuild(t *testing.T) {
	n, flake := realNix(t)
	got, err := n.Evaluate(context.Background(), flake, []Attribute{toplevelOf("slow")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	stop := errors.New("the user pressed Ctrl-C")
	start := time.Now()
	err = n.Build(ctx, []Derivation{{Host: "slow", DrvPath: got["slow"].DrvPath}}, "", func(p Progress) {
		if p.Line != nil && p.Line.Text == "sleeping" {
			cancel(stop)
		}
	})
	if !errors.Is(err, stop) || time.Since(start) > 20*time.Second {
		t.Errorf("got %v after %v", err, time.Since(start))
	}
}

func BenchmarkLabEvaluate(b *testing.B) {
	n, flake := realNix(b)
	for b.Loop() {
		if _, err := n.Evaluate(context.Background(), flake, []Attribute{toplevelOf("web1"), toplevelOf("web2")}, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLabVersion(b *testing.B) {
	n, _ := realNix(b)
	for b.Loop() {
		if _, err := n.Version(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLabBuildOfBuilt(b *testing.B) {
	n, flake := realNix(b)
	got, err := n.Evaluate(context.Background(), flake, []Attribute{toplevelOf("web1")}, nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := n.Build(context.Background(), []Derivation{{DrvPath: got["web1"].DrvPath}}, b.TempDir(), nil); err != nil {
			b.Fatal(err)
		}
	}
}
