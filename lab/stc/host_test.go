//go:build lab

package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/lab"
)

const flakeDirectory = "/root/flake"

// site is one host and the workstation that builds for it.
type site struct {
	host, workstation *lab.Host
}

// onHost runs a shell script on a machine and returns its exit code and everything it said.
func onHost(t *testing.T, host *lab.Host, script string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	result, err := host.Exec(ctx, "/bin/sh", "-c", script)
	if err != nil {
		t.Fatalf("%s: %s: %v", host.Name, script, err)
	}
	return result.Code, strings.TrimSpace(result.Stdout + result.Stderr)
}

func must(t *testing.T, host *lab.Host, script string) string {
	t.Helper()
	code, output := onHost(t, host, script)
	if code != 0 {
		t.Fatalf("%s: %s: exit code %d: %s", host.Name, script, code, output)
	}
	return output
}

func expect(t *testing.T, host *lab.Host, script, want string) {
	t.Helper()
	if _, got := onHost(t, host, script); got != want {
		t.Errorf("%s: %s:\n%s\nwant\n%s", host.Name, script, got, want)
	}
}

// system builds the host's system with these settings, copies it there, and returns its toplevel.
func (s site) system(t *testing.T, settings string) string {
	t.Helper()
	if err := s.workstation.WriteHostConfig(t.Context(), flakeDirectory, s.host.Name, settings); err != nil {
		t.Fatal(err)
	}
	return must(t, s.workstation, fmt.Sprintf(`set -e
toplevel=$(nix build --no-link --print-out-paths '%[1]s#nixosConfigurations.%[2]s.config.system.build.toplevel' 2>/tmp/build.log) || { cat /tmp/build.log; exit 1; }
NIX_SSHOPTS='-o StrictHostKeyChecking=accept-new' nix copy --no-check-sigs --to ssh-ng://root@%[3]s "$toplevel" >/tmp/copy.log 2>&1 || { cat /tmp/copy.log; exit 1; }
echo "$toplevel"`, flakeDirectory, s.host.Name, s.host.Address))
}

// activate runs an action of a system, at most for a while, and checks its exit code.
func (s site) activate(t *testing.T, toplevel, action string, want int) string {
	t.Helper()
	code, output := onHost(t, s.host, "timeout 20 "+toplevel+"/bin/switch-to-configuration "+action)
	if code != want {
		t.Errorf("%s: exit code %d, want %d: %s", action, code, want, output)
	}
	return output
}

func (s site) reboot(t *testing.T) {
	t.Helper()
	if err := s.host.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	must(t, s.host, "systemctl is-system-running --wait")
}

func openSites(t *testing.T, world string, loaders ...string) []site {
	t.Helper()
	w, err := lab.OpenFresh(t.Context(), world)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	workstation, err := w.Workstation(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := workstation.NewFlake(t.Context(), flakeDirectory); err != nil {
		t.Fatal(err)
	}
	var sites []site
	for _, loader := range loaders {
		host, err := w.NewHost(t.Context(), loader, lab.HostOptions{Loader: loader})
		if err != nil {
			t.Fatal(err)
		}
		sites = append(sites, site{host: host, workstation: workstation})
	}
	return sites
}

func TestBootLoaders(t *testing.T) {
	for _, s := range openSites(t, "t-boot", lab.GRUB, lab.SystemdBoot) {
		t.Run(s.host.Name, func(t *testing.T) {
			var systems []string
			for _, revision := range []string{"a", "b", "c", "d"} {
				toplevel := s.system(t, fmt.Sprintf(`{"loader":%q,"revision":%q,"specialisations":["variant"]}`, s.host.Loader(), revision))
				systems = append(systems, toplevel)
				must(t, s.host, "nix-env -p /nix/var/nix/profiles/system --set "+toplevel)
				s.activate(t, toplevel, "boot", 0)
			}
			last := systems[3]
			s.reboot(t)
			expect(t, s.host, "readlink /run/current-system /run/booted-system; cat /run/lab-marker", last+"\n"+last+"\nd")

			// Of generations 1 to 5 only 3, 4 and 5 are listed: the system of 2 is the default only where GRUB is.
			s.activate(t, systems[0], "boot", 0)
			defaultSystem, oldEntry := last, "bootctl set-oneshot nixos-generation-4.conf"
			if s.host.Loader() == lab.GRUB {
				defaultSystem = systems[0]
				oldEntry = `grub-reboot "NixOS - All configurations>$(grep -o 'NixOS - Configuration 4 ([^"]*' /boot/grub/grub.cfg)"`
			}
			must(t, s.host, oldEntry)
			s.reboot(t)
			expect(t, s.host, "readlink /run/current-system", systems[2])
			if err := s.host.PowerCut(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := s.host.Boot(t.Context()); err != nil {
				t.Fatal(err)
			}
			expect(t, s.host, "readlink /run/current-system", defaultSystem)

			s.activate(t, last+"/specialisation/variant", "test", 0)
			expect(t, s.host, "cat /run/lab-marker", "d+variant")
		})
	}
}

// TestFaults takes each fault by `test` from a healthy system and goes back to it.
func TestFaults(t *testing.T) {
	const sshReaches = "timeout 5 ssh -o BatchMode=yes -o ConnectTimeout=3 -o StrictHostKeyChecking=accept-new root@"
	s := openSites(t, "t-faults", lab.SystemdBoot)[0]
	healthy := s.system(t, `{"revision":"healthy"}`)
	s.activate(t, healthy, "switch", 0)

	tests := map[string]struct {
		settings string
		action   string // test
		code     int
		says     string // part of what it says
		probe    string // on the host, afterwards
		want     string
		locked   bool // ssh does not get in
		stays    bool // the old system is still the running one
	}{
		"hangs":           {settings: `{"faults":{"activateHang":true}}`, code: 124, stays: true, probe: "pkill -x sleep; cat /run/nixos/start-list | head -1", want: "lab-marker.service"},
		"activation":      {settings: `{"faults":{"activateExit":3}}`, code: 2, says: "Failed to run activate script"},
		"check":           {settings: `{"faults":{"stcExit":1}}`, code: 1, says: "Pre-switch checks failed", stays: true},
		"exit 2":          {settings: `{"faults":{"stcExit":2}}`, code: 2},
		"exit 4":          {settings: `{"faults":{"stcExit":4}}`, code: 4},
		"lock":            {settings: `{"faults":{"stcExit":11}}`, code: 11, says: "Could not acquire lock", stays: true},
		"init interface":  {settings: `{"faults":{"stcExit":100}}`, code: 100, stays: true},
		"panic":           {settings: `{"faults":{"stcExit":101}}`, code: 101, stays: true, probe: "systemctl is-active lab-marker", want: "inactive"},
		"fails at once":   {settings: `{"faults":{"failUnit":"at-once"}}`, code: 4, says: "the following units failed: lab-failing.service"},
		"fails later":     {settings: `{"faults":{"failUnit":"after-5s"}}`, probe: "sleep 5.5; systemctl is-failed lab-failing", want: "failed"},
		"crash loop":      {settings: `{"faults":{"crashLoop":true}}`, code: 4, says: "auto-restart"},
		"failed before":   {settings: `{"faults":{"preexistingFailedUnit":true}}`, code: 4, says: "lab-broken.service"},
		"firewall":        {settings: `{"faults":{"firewallDropSsh":true}}`, locked: true, probe: "systemctl is-active sshd", want: "active"},
		"keys refused":    {settings: `{"faults":{"sshdRefusesKeys":true}}`, locked: true, probe: "systemctl is-active sshd", want: "active"},
		"empty token":     {settings: `{"faults":{"emptyToken":true}}`, probe: "stat -c %s /etc/opnix-token; rm /etc/opnix-token", want: "0"},
		"missing token":   {settings: `{"faults":{"missingToken":true}}`, probe: "ls /etc/opnix-token", want: "ls: cannot access '/etc/opnix-token': No such file or directory"},
		"full boot":       {settings: `{"faults":{"bootFull":true}}`, action: "boot", code: 1, says: "no space left on device", stays: true},
		"inhibitor":       {settings: `{"switchInhibitors":{"dbus":"broker"}}`, code: 1, says: "dbus: dbus -> broker", stays: true},
		"inhibited boot":  {settings: `{"loader":"systemd-boot","switchInhibitors":{"dbus":"broker"}}`, action: "boot", stays: true},
		"re-execution":    {settings: `{"managerRevision":"2"}`, says: "restarting systemd..."},
		"periodic reload": {settings: `{"faults":{"periodicReload":1}}`, probe: "sleep 2.5; journalctl -u init.scope -n 20 -o cat | grep -q Reloading && echo reloads", want: "reloads"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			toplevel := s.system(t, test.settings)
			action := test.action
			if action == "" {
				action = "test"
			}
			if said := s.activate(t, toplevel, action, test.code); !strings.Contains(said, test.says) {
				t.Errorf("said %q, want %q", said, test.says)
			}
			running := toplevel
			if test.stays {
				running = healthy
			}
			expect(t, s.host, "readlink /run/current-system", running)
			if code, _ := onHost(t, s.workstation, sshReaches+s.host.Address+" true"); (code != 0) != test.locked {
				t.Errorf("ssh exit code %d, locked out: %v", code, test.locked)
			}
			if test.probe != "" {
				expect(t, s.host, test.probe, test.want)
			}
			s.activate(t, healthy, "test", 0)
			expect(t, s.host, "readlink /run/current-system; systemctl is-system-running", healthy+"\nrunning")
		})
	}
}

// These two take the bus down, so that no system's program can go back.
func TestFaultsThatEndTheBus(t *testing.T) {
	s := openSites(t, "t-bus", lab.SystemdBoot)[0]
	healthy := s.system(t, `{"revision":"healthy"}`)
	s.activate(t, healthy, "switch", 0)

	s.activate(t, s.system(t, `{"faults":{"dbusDead":true}}`), "test", 1)
	if said := s.activate(t, healthy, "test", 1); !strings.Contains(said, "connect to the system bus") {
		t.Errorf("without a bus it says %q", said)
	}
	s.reboot(t)

	s.activate(t, healthy, "test", 0)
	must(t, s.host, "systemd-run -q --unit=plain sleep 1000; systemd-run -q --unit=tough -p DefaultDependencies=no -p IgnoreOnIsolate=yes sleep 1000")
	s.activate(t, s.system(t, `{"faults":{"badMount":true}}`), "test", 1)
	expect(t, s.host, "timeout 10 sh -c 'while systemctl -q is-active sshd; do sleep 0.1; done'; systemctl is-active emergency.target sshd plain tough",
		"active\ninactive\ninactive\nactive")
	must(t, s.host, healthy+"/activate && systemctl daemon-reload && timeout 20 systemctl start multi-user.target")
	expect(t, s.host, "systemctl is-active emergency.target sshd", "inactive\nactive")
}

func TestServices(t *testing.T) {
	s := openSites(t, "t-services", lab.SystemdBoot)[0]
	healthy := s.system(t, `{"revision":"healthy"}`)
	s.activate(t, healthy, "switch", 0)
	const (
		opnixState = "systemctl show opnix-secrets -P ActiveState -P SubState -P ExecMainStatus | tr '\\n' ' '"
		agentState = "sleep 0.5; systemctl show hercules-ci-agent -P ActiveState -P SubState | tr '\\n' ' '"
	)
	tests := map[string]struct {
		settings    string
		code        int
		probe, want string
	}{
		"healthy":           {`{"opnix":{},"hercules":{}}`, 0, agentState + "; ss -Htn state established dport = :443 | wc -l", "active running 1"},
		"OpNix alone":       {`{"opnix":{}}`, 0, opnixState + "; stat -c '%a %U:%G' /var/lib/opnix/secrets/appSecret /var/lib/opnix/secrets", "0 active exited 600 root:root\n751 root:onepassword-secrets"},
		"alias":             {`{"opnix":{"alias":true}}`, 0, "systemctl show onepassword-secrets -P LoadState", "loaded"},
		"broken secret":     {`{"opnix":{"brokenSecret":true}}`, 4, opnixState, "65 failed failed"},
		"unknown owner":     {`{"opnix":{"unknownOwner":true}}`, 4, opnixState, "1 activating auto-restart"},
		"wrong mode":        {`{"opnix":{"wrongMode":true}}`, 0, "stat -c %a /var/lib/opnix/secrets/appSecret", "644"},
		"rate limited":      {`{"opnix":{"fail":"rate-limited"}}`, 4, opnixState, "75 failed failed"},
		"missing token":     {`{"opnix":{},"faults":{"missingToken":true}}`, 0, opnixState + "; journalctl -u opnix-secrets -o cat -n 5 | grep -c 'WARNING: Token file'", "0 active exited 1"},
		"deadlock":          {`{"opnix":{"version":"0.8.0"},"hercules":{}}`, 124, opnixState + "; systemctl cancel; systemctl kill -s KILL opnix-secrets", "0 activating start"},
		"agent offline":     {`{"hercules":{"offline":true}}`, 0, agentState + "; journalctl -u hercules-ci-agent -o cat -n 3 | grep -c 'Recovering from exception'", "active running 1"},
		"nobody answers":    {`{"hercules":{"offline":"api"}}`, 0, agentState, "activating auto-restart"},
		"agent crashes":     {`{"hercules":{"crash":true}}`, 0, "sleep 1;" + agentState, "activating auto-restart"},
		"caches no JSON":    {`{"hercules":{"badCaches":true}}`, 0, agentState, "activating auto-restart"},
		"token is no token": {`{"hercules":{"badToken":true}}`, 4, agentState, "activating auto-restart"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			must(t, s.host, "rm -rf /var/lib/opnix /var/lib/hercules-ci-agent")
			s.activate(t, s.system(t, test.settings), "test", test.code)
			expect(t, s.host, test.probe, test.want)
			s.activate(t, healthy, "test", 0)
			expect(t, s.host, "readlink /run/current-system; systemctl is-system-running", healthy+"\nrunning")
		})
	}
}

// A switch whose listener has gone must end as the real one does, and the next one must end what it began.
func TestSwitchWithoutListener(t *testing.T) {
	s := openSites(t, "t-pipe", lab.SystemdBoot)[0]
	next := s.system(t, `{"revision":"next"}`)
	expect(t, s.host, "set -o pipefail 2>/dev/null; { sleep 0.2; "+next+"/bin/switch-to-configuration test; echo $? >/tmp/code; } 2>&1 | true; cat /tmp/code; head -1 /run/nixos/start-list",
		"101\nlab-marker.service")
	began := time.Now()
	s.activate(t, next, "test", 0)
	t.Logf("a switch took %v", time.Since(began))
	expect(t, s.host, "cat /run/lab-marker; ls /run/nixos; journalctl -t nixos -o cat", "next\nswitch-to-configuration.lock\n"+
		"switching to system configuration "+next+"\nswitching to system configuration "+next+"\nfinished switching to system configuration "+next)
}

// The attributes that one evaluation reads for what the probes expect.
func TestConfiguration(t *testing.T) {
	s := openSites(t, "t-config", lab.SystemdBoot)[0]
	evaluate := func(settings, attribute string) (int, string) {
		if err := s.workstation.WriteHostConfig(t.Context(), flakeDirectory, "web", settings); err != nil {
			t.Fatal(err)
		}
		return onHost(t, s.workstation, fmt.Sprintf("nix eval --json '%s#nixosConfigurations.web%s'", flakeDirectory, attribute))
	}
	const full = `{"opnix":{},"hercules":{}}`
	tests := []struct{ settings, attribute, want string }{
		{full, ".config.networking.hostName", `"web"`},
		{full, ".config.nixpkgs.hostPlatform.system", `"x86_64-linux"`},
		{full, ".config.system.build.toplevel.name", `"nixos-system-web-25.05.lab"`},
		{full, ".config.services.onepassword-secrets.tokenFile", `"/etc/opnix-token"`},
		{
			full, ".config.services.onepassword-secrets.secrets.herculesClusterJoinToken",
			`{"group":"hercules-ci-agent","mode":"0600","owner":"hercules-ci-agent","path":"/var/lib/hercules-ci-agent/secrets/cluster-join-token.key",` +
				`"reference":"op://The Lab/herculesClusterJoinToken/value","services":["hercules-ci-agent"],"symlinks":[]}`,
		},
		{full, ".config.services.hercules-ci-agent.settings.binaryCachesPath", `"/var/lib/hercules-ci-agent/secrets/binary-caches.json"`},
		{full, ".config.systemd.services.opnix-secrets.enable", "true"},
		{`{}`, ".config.services", `{"hercules-ci-agent":{"enable":false},"onepassword-secrets":{"enable":false},"openssh":{"enable":true,"ports":[22]}}`},
		{`{"hercules":{},"expectations":false}`, ".config.services", "{}"},
	}
	for _, test := range tests {
		if code, got := evaluate(test.settings, test.attribute); code != 0 || got != test.want {
			t.Errorf("%s of %s: %d: %s; want %s", test.attribute, test.settings, code, got, test.want)
		}
	}
	for settings, want := range map[string]string{
		`{"faults":{"nope":true}}`: "unknown fault nope", `{"nope":1}`: "unknown setting nope", `{"opnix":{"nope":1}}`: "unknown knob nope",
		`{"loader":"lilo"}`: "unknown loader lilo",
	} {
		if code, got := evaluate(settings, ".config.system.build.toplevel.drvPath"); code == 0 || !strings.Contains(got, want) {
			t.Errorf("%s: %d: %s; want %q", settings, code, got, want)
		}
	}
}
