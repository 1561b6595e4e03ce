package reach

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
)

const byService = `ExecStart={ path=/nix/store/a-openssh/bin/sshd ; argv[]=/nix/store/a-openssh/bin/sshd -D -f /etc/ssh/sshd_config ; ignore_errors=no ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }
Id=sshd.service
LoadState=loaded
ActiveState=active

Id=ssh.service
LoadState=masked
ActiveState=inactive

Id=sshd.socket
LoadState=not-found
ActiveState=inactive
`

const bySocket = `Id=sshd.service
LoadState=not-found
ActiveState=inactive

Listen=[::]:22 (Stream)
Listen=192.0.2.20:2022 (Stream)
Listen=/run/sshd.sock (Stream)
Id=sshd.socket
LoadState=loaded
ActiveState=active

ExecStart={ path=/nix/store/a-openssh/bin/sshd ; argv[]=/nix/store/a-openssh/bin/sshd -i -D -f /etc/ssh/sshd_config ; ignore_errors=yes ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }
Id=sshd@hdeploy.service
LoadState=loaded
ActiveState=inactive
`

func TestSshdIsFoundAsItIsStarted(t *testing.T) {
	for shown, ports := range map[string][]uint16{byService: {22, 2222}, bySocket: {22, 2022}} {
		d, err := parseDaemon(shown)
		if err != nil || d.program != "/nix/store/a-openssh/bin/sshd" || !slices.Equal(d.args, []string{"-f", "/etc/ssh/sshd_config"}) {
			t.Fatalf("%+v %v", d, err)
		}
		d.global = Settings{"listenaddress": {"[::]:22", "0.0.0.0:2222 rdomain red", "nonsense"}}
		if got := d.ports(); !slices.Equal(got, ports) {
			t.Errorf("the ports are %v, want %v", got, ports)
		}
	}
	for _, none := range []string{
		"", "Id=sshd.service\nLoadState=loaded\nActiveState=active\n",
		"Id=ssh.service\nLoadState=loaded\nExecStart={ path=/bin/true ; argv[]=/bin/true ; ignore_errors=no }\n",
	} {
		if d, err := parseDaemon(none); !errors.Is(err, errNoDaemon) {
			t.Errorf("%q: %+v %v", none, d, err)
		}
	}
}

func TestArgumentsThatChooseTheConfiguration(t *testing.T) {
	for _, c := range []struct{ args, want []string }{
		{[]string{"-D", "-f", "/x", "-e"}, []string{"-f", "/x"}},
		{[]string{"-Def/x"}, []string{"-f", "/x"}},
		{[]string{"-4", "-p", "22", "-oPort=3", "-E", "/log", "-u0", "$OPTIONS"}, []string{"-4", "-p", "22", "-o", "Port=3"}},
		{[]string{"-f"}, nil},
	} {
		if got := chosen(c.args); !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.args, got, c.want)
		}
	}
}

func TestChangesOfWhatIsListenedOn(t *testing.T) {
	at := func(list ...string) (all []netip.AddrPort) {
		for _, text := range list {
			all = append(all, netip.MustParseAddrPort(text))
		}
		return all
	}
	both := at("0.0.0.0:22", "[::]:22")
	for _, c := range []struct {
		name        string
		before, now []netip.AddrPort
		want        State
	}{
		{"the same", both, both, Proven},
		{"one more", both, append(at("127.0.0.1:23"), both...), Proven},
		{"nothing", both, nil, Failed},
		{"another port", both, at("0.0.0.0:2022", "[::]:2022"), Failed},
		{"one of two ports", at("0.0.0.0:22", "0.0.0.0:2022"), at("0.0.0.0:2022"), Failed},
		{"only loopback", both, at("127.0.0.1:22", "[::1]:22"), Failed},
		{"one address", both, at("192.0.2.20:22"), Changed},
		{"one family", both, at("0.0.0.0:22"), Changed},
		{"loopback before", at("127.0.0.1:22"), at("[::1]:22"), Changed},
	} {
		if f := compareListening(c.before, c.now); f.State != c.want {
			t.Errorf("%s: %s (%s), want %s", c.name, f.State, f.Detail, c.want)
		}
	}
	for _, c := range []struct {
		listeners []netip.AddrPort
		want      string
	}{
		{both, "127.0.0.1:22"}, {at("[::]:22"), "[::1]:22"}, {at("192.0.2.20:22", "[::1]:22"), "192.0.2.20:22"},
	} {
		if got, ok := knockable(c.listeners, 22); !ok || got.String() != c.want {
			t.Errorf("%v is knocked at at %v, want %s", c.listeners, got, c.want)
		}
	}
	if at, ok := knockable(both, 23); ok {
		t.Errorf("%v is knocked at", at)
	}
}

func FuzzDaemon(f *testing.F) {
	f.Add(byService)
	f.Add(bySocket)
	f.Add("LoadState=loaded\nExecStart={ path=/sshd ; argv[]=sshd -\n")
	f.Fuzz(func(t *testing.T, shown string) {
		if d, err := parseDaemon(shown); err == nil && d.program == "" {
			t.Error("no program, and no error")
		}
	})
}
