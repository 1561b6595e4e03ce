package probe

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/profiles/systemd"
)

func TestSocketJudges(t *testing.T) {
	web := systemd.Unit{ID: "web.service", Load: "loaded", Active: "active", Sub: "running", Invocation: "1", ControlGroup: "/system.slice/web.service", MainPID: os.Getpid()}
	stopped := web
	stopped.Active, stopped.Sub = "inactive", "dead"
	looping := web
	looping.Active, looping.Sub, looping.Result, looping.Restarts = "activating", "auto-restart", "exit-code", 4
	at := netip.MustParseAddrPort
	owned := []socket{
		{protocol: "tcp", state: listening, local: at("0.0.0.0:8080")},
		{protocol: "tcp", state: established, local: at("10.0.0.1:40000"), remote: at("10.0.0.2:443")},
		{protocol: "tcp", state: established, local: at("10.0.0.1:40001"), remote: at("10.0.0.2:443")},
		{protocol: "udp", state: listening, local: at("[::]:53")},
		{protocol: "unix", state: listening, path: "/run/web.sock"},
	}
	before := func(u systemd.Unit, group string) *Baseline {
		return &Baseline{Units: map[string]systemd.Unit{u.ID: u}, ListenersRead: true, Listeners: []Listener{{"tcp", at("0.0.0.0:9090"), group}}}
	}
	for name, c := range map[string]struct {
		spec   SocketSpec
		unit   systemd.Unit
		before *Baseline
		want   string
	}{
		"listens anywhere":           {SocketSpec{}, web, nil, ""},
		"listens at the port":        {SocketSpec{Local: ":8080"}, web, nil, ""},
		"listens at the address":     {SocketSpec{Local: "0.0.0.0:8080"}, web, nil, ""},
		"listens at another address": {SocketSpec{Local: "127.0.0.1:8080"}, web, nil, "not-listening"},
		"other port":                 {SocketSpec{Local: ":8081"}, web, nil, "not-listening"},
		"connected":                  {SocketSpec{State: established, Remote: ":443"}, web, nil, ""},
		"twice":                      {SocketSpec{State: established, Remote: "10.0.0.2:443", Count: 2}, web, nil, ""},
		"not three times":            {SocketSpec{State: established, Remote: ":443", Count: 3}, web, nil, "not-connected"},
		"udp":                        {SocketSpec{Protocol: "udp", Local: "[::]:53"}, web, nil, ""},
		"no tcp at that port":        {SocketSpec{Local: ":53"}, web, nil, "not-listening"},
		"unix":                       {SocketSpec{Protocol: "unix", Local: "/run/web.sock"}, web, nil, ""},
		"other unix":                 {SocketSpec{Protocol: "unix", Local: "/run/x.sock"}, web, nil, "not-listening"},
		"does not run":               {SocketSpec{Local: ":8081"}, stopped, nil, "not-running"},
		"looped before":              {SocketSpec{Local: ":8081"}, looping, before(looping, ""), ClassFailedBefore},
		"not there before either":    {SocketSpec{Local: ":8081"}, web, before(web, web.ControlGroup), ClassFailedBefore},
		"there before":               {SocketSpec{Local: ":9090"}, web, before(web, web.ControlGroup+"/worker"), "not-listening"},
		"somebody else's before":     {SocketSpec{Local: ":9090"}, web, before(web, "/system.slice/web.service2"), ClassFailedBefore},
		"baseline could not tell":    {SocketSpec{Local: ":8081"}, web, &Baseline{Units: map[string]systemd.Unit{web.ID: web}}, "not-listening"},
		"connections are not known":  {SocketSpec{State: established, Remote: ":80"}, web, before(web, web.ControlGroup), "not-connected"},
	} {
		c.spec.Unit = "web.service"
		if err := c.spec.validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got := c.spec.judge(t.Context(), c.unit, owned, c.before)
		if got.class != c.want || (got.verdict == Pass) != (c.want == "") || c.want != "" && got.hint == "" {
			t.Errorf("%s: want %q, got %+v", name, c.want, got)
		}
	}
}

// A port that another unit took is told apart from one that nobody listens on.
func TestSocketOfAnotherOwner(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	if groupOf("/proc/self") == "" {
		t.Log("this machine has no unified hierarchy: the owner has no name here")
	}
	all, err := listeners(t.Context(), procRoot)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, each := range all {
		found = found || each.Protocol == "tcp" && each.Address.String() == l.Addr().String() && each.Group == groupOf("/proc/self")
	}
	if !found {
		t.Errorf("%s is not among %v", port, all)
	}
}

// What listens is told with the group of the service, not of the systemd that gave
// it the socket, and a process that ends meanwhile disturbs nothing.
func TestListenersOfAnotherKernel(t *testing.T) {
	proc := t.TempDir()
	put := func(path, text string) {
		t.Helper()
		path = filepath.Join(proc, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if to, ok := strings.CutPrefix(text, "->"); ok {
			if err := os.Symlink(to, path); err != nil {
				t.Fatal(err)
			}
			return
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("self/net/tcp", "head\n"+
		"0: 00000000:0016 00000000:0000 0A 0:0 0:0 0 0 0 11 1\n"+
		"1: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 12 1\n"+
		"2: 0100007F:1F91 0100007F:01BB 01 0:0 0:0 0 0 0 13 1\n")
	put("self/net/udp", "0: 00000000:0035 00000000:0000 07 0:0 0:0 0 0 0 14 1\n1: 00000000:9000 00000000:0000 07 0:0 0:0 0 0 0 15 1\n")
	put("1/fd/3", "->socket:[11]")
	put("1/fd/4", "->socket:[14]")
	put("1/fd/5", "->/dev/null")
	put("1/cgroup", "1:name=systemd:/x\n0::/init.scope\n")
	put("20/fd/3", "->socket:[11]")
	put("20/cgroup", "0::/system.slice/sshd.service\n")
	put("21/fd/3", "->socket:[12]")
	put("21/cgroup", "0::/system.slice/web.service\n")
	put("22/status", "it has ended")
	got, err := listeners(t.Context(), proc)
	if err != nil || len(got) != 3 {
		t.Fatalf("got %v, %v", got, err)
	}
	for i, want := range []Listener{
		{"tcp", netip.MustParseAddrPort("0.0.0.0:22"), "/system.slice/sshd.service"},
		{"tcp", netip.MustParseAddrPort("127.0.0.1:8080"), "/system.slice/web.service"},
		{"udp", netip.MustParseAddrPort("0.0.0.0:53"), "/init.scope"},
	} {
		if got[i] != want {
			t.Errorf("got %v, want %v", got[i], want)
		}
	}
}

func TestSocketAsked(t *testing.T) {
	s := newStandIn(t)
	s.unit(shown(systemd.Unit{ID: "a.service", Load: "loaded", Active: "active", Sub: "running", Result: "success", ControlGroup: "/system.slice/hdeploy-no-such.service"}))
	probe := quick(KindSocket)
	*ask[SocketSpec](probe) = SocketSpec{Unit: "a.service", Local: ":1"}
	runOne(t, probe, s.host(nil)).want(t, Fail, "not-listening", "has 0")
	ask[SocketSpec](probe).Unit = "gone.service"
	runOne(t, probe, s.host(nil)).want(t, Fail, "not-loaded", "not-found")
	s.write("broken", "")
	runOne(t, probe, s.host(nil)).want(t, Unknown, "systemd", "")
}

func TestSocketValidate(t *testing.T) {
	for want, spec := range map[string]SocketSpec{
		"name of a unit":        {Unit: "a"},
		"protocol must":         {Unit: "a.service", Protocol: "sctp"},
		"state must":            {Unit: "a.service", State: "open"},
		"count must":            {Unit: "a.service", Count: -1},
		"has no remote":         {Unit: "a.service", Remote: ":443"},
		"local must be address": {Unit: "a.service", Local: "localhost:80"},
		"remote must be":        {Unit: "a.service", State: established, Remote: ":https"},
		"local is missing":      {Unit: "a.socket"},
		"absolute path":         {Unit: "a.service", Protocol: "unix", Local: "run/a"},
		"does not tell":         {Unit: "a.service", Protocol: "unix", State: established, Remote: "/run/a"},
	} {
		if err := spec.validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %q", spec, err, want)
		}
	}
}

func TestBaselineAdd(t *testing.T) {
	s := newStandIn(t)
	s.unit(shown(systemd.Unit{ID: "once.service", Load: "loaded", Active: "inactive", Sub: "dead", Result: "success", Invocation: "9"}))
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	missing := secret + ".missing"
	specs := []Spec{quick(KindUnit), quick(KindOnePassword)}
	ask[UnitSpec](specs[0]).Unit = "once.service"
	ask[OnePasswordSpec](specs[1]).Secrets = []Secret{{Path: secret}, {Path: missing}}
	b := s.before()
	if b.Units["once.service"].Invocation != "" {
		t.Fatal("inactive units are shown in full already")
	}
	if err := b.Add(t.Context(), systemd.Manager{Bin: s.dir}, specs); err != nil {
		t.Fatal(err)
	}
	if b.Units["once.service"].Invocation != "9" || !b.ListenersRead {
		t.Errorf("%+v", b)
	}
	open, empty := flaw{class: "mode"}, flaw{class: "empty-file"}
	if !b.flawIsOld(secret, open) || !b.flawIsOld(secret, empty) || b.flawIsOld(missing, empty) || b.flawIsOld("/etc/passwd", open) || (*Baseline)(nil).flawIsOld(secret, open) {
		t.Error("the same file is the one that was looked at and is there")
	}
	if err := os.Chtimes(secret, time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if !b.flawIsOld(secret, open) || b.flawIsOld(secret, empty) {
		t.Error("what was written since has other content, and the same mode")
	}
	if err := os.Chmod(secret, 0o600); err != nil {
		t.Fatal(err)
	}
	if b.flawIsOld(secret, open) {
		t.Error("it has another mode since")
	}
}
