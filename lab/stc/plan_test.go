package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const service = "[Unit]\nDescription=a service\n\n[Service]\nExecStart=/bin/true\n"

func TestCompare(t *testing.T) {
	tests := map[string]struct {
		current, next string
		want          difference
	}{
		"same":              {service, service, equal},
		"other description": {service, strings.Replace(service, "a service", "the service", 1), equal},
		"comment":           {service, "# written by hand\n" + service, equal},
		"install section":   {service, service + "[Install]\nWantedBy=multi-user.target\n", equal},
		"other command":     {service, strings.Replace(service, "true", "false", 1), needsRestart},
		"new key":           {service, service + "Restart=always\n", needsRestart},
		"new section":       {service, service + "[X-Lab]\nA=1\n", needsRestart},
		"restart trigger":   {service, "[Unit]\nX-Restart-Triggers=/nix/store/b\n" + service, needsRestart},
		"reload trigger":    {service, "[Unit]\nX-Reload-Triggers=/nix/store/b\n" + service, needsReload},
		"both triggers":     {service, "[Unit]\nX-Reload-Triggers=b\nX-Restart-Triggers=b\n" + service, needsRestart},
		"order of values": {
			"[Service]\nExecStart=/bin/a\nExecStart=/bin/b\n", "[Service]\nExecStart=/bin/b\nExecStart=/bin/a\n", needsRestart,
		},
		"continued line": {"[Service]\nExecStart=/bin/a b\n", "[Service]\nExecStart=/bin/a \\\n  b\n", equal},
		"mount options":  {"[Mount]\nOptions=ro\n", "[Mount]\nOptions=rw\n", needsReload},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			current, next := unitFile{}, unitFile{}
			current.parse(test.current)
			next.parse(test.next)
			if got := compare(current, next); got != test.want {
				t.Errorf("compare = %v, want %v", got, test.want)
			}
		})
	}
}

func TestFlag(t *testing.T) {
	for value, want := range map[string]bool{"yes": true, "true": true, "1": true, "on": true, "no": false, "false": false, "": false} {
		unit := unitFile{"Unit": {"X-RestartIfChanged": {"yes", value}}}
		if got := unit.flag("X-RestartIfChanged", !want); got != want {
			t.Errorf("flag of %q = %v, want %v", value, got, want)
		}
	}
	if !(unitFile{}).flag("X-RestartIfChanged", true) {
		t.Error("a missing key is not its default")
	}
}

// units writes unit files into a directory. The text /dev/null masks a unit.
func units(t *testing.T, files map[string]string) string {
	t.Helper()
	directory := t.TempDir()
	for name, text := range files {
		path := filepath.Join(directory, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if text == os.DevNull {
			if err := os.Symlink(os.DevNull, path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return directory
}

func set(units ...string) names {
	n := names{}
	for _, unit := range units {
		n[unit] = true
	}
	return n
}

func TestCompareUnits(t *testing.T) {
	unit := func(lines ...string) string {
		return "[Unit]\n" + strings.Join(lines, "\n") + "\n[Service]\nExecStart=/bin/true\n"
	}
	running := unitState{active: "active", sub: "running"}
	tests := map[string]struct {
		current, next map[string]string
		active        map[string]unitState
		want          func(*plan)
	}{
		"unchanged": {
			map[string]string{"a.service": unit()}, map[string]string{"a.service": unit()}, nil, func(*plan) {},
		},
		"changed is stopped, then started": {
			map[string]string{"a.service": unit()}, map[string]string{"a.service": unit("After=b.service")}, nil,
			func(p *plan) { p.stop, p.start = set("a.service"), set("a.service") },
		},
		"stopIfChanged=false is restarted": {
			map[string]string{"a.service": unit()}, map[string]string{"a.service": unit("X-StopIfChanged=false")}, nil,
			func(p *plan) { p.restart = set("a.service") },
		},
		"restartIfChanged=false is skipped": {
			map[string]string{"a.service": unit()}, map[string]string{"a.service": unit("X-RestartIfChanged=false")}, nil,
			func(p *plan) { p.skip = set("a.service") },
		},
		"reloadIfChanged is reloaded": {
			map[string]string{"a.service": unit()}, map[string]string{"a.service": unit("X-ReloadIfChanged=true")}, nil,
			func(p *plan) { p.reload = set("a.service") },
		},
		"inactive is left alone": {
			map[string]string{"a.service": unit()}, map[string]string{"a.service": unit("After=b.service")},
			map[string]unitState{"a.service": {active: "failed", sub: "failed"}}, func(*plan) {},
		},
		"removed is stopped": {
			map[string]string{"a.service": unit()}, nil, nil, func(p *plan) { p.stop = set("a.service") },
		},
		"masked is stopped": {
			map[string]string{"a.service": unit()}, map[string]string{"a.service": os.DevNull}, nil,
			func(p *plan) { p.stop = set("a.service") },
		},
		"removed, stopOnRemoval=false": {
			map[string]string{"a.service": unit("X-StopOnRemoval=false")}, nil, nil, func(*plan) {},
		},
		"not of the system": {
			nil, map[string]string{"a.service": unit()}, map[string]unitState{"a.service": running}, func(*plan) {},
		},
		"active target is started again": {
			map[string]string{"multi-user.target": "[Unit]\n"}, map[string]string{"multi-user.target": "[Unit]\n"}, nil,
			func(p *plan) { p.start, p.hidden = set("multi-user.target"), set("multi-user.target") },
		},
		"target with stopOnReconfiguration": {
			map[string]string{"local-fs.target": "[Unit]\n"},
			map[string]string{"local-fs.target": "[Unit]\nX-StopOnReconfiguration=true\n"}, nil,
			func(p *plan) {
				p.stop, p.start, p.hidden = set("local-fs.target"), set("local-fs.target"), set("local-fs.target")
			},
		},
		"changed with its socket": {
			map[string]string{"a.service": unit(), "a.socket": "[Socket]\n"},
			map[string]string{"a.service": unit("After=b.service"), "a.socket": "[Socket]\n"}, nil,
			func(p *plan) { p.stop, p.start = set("a.service", "a.socket"), set("a.socket") },
		},
		"instance of a template": {
			map[string]string{"a@.service": unit()}, map[string]string{"a@.service": unit("After=b.service")},
			map[string]unitState{"a@x.service": running},
			func(p *plan) { p.stop, p.start = set("a@x.service"), set("a@x.service") },
		},
		"changed drop-in": {
			map[string]string{"a.service": unit(), "a.service.d/x.conf": "[Service]\nRestart=no\n"},
			map[string]string{"a.service": unit(), "a.service.d/x.conf": "[Service]\nRestart=always\n"}, nil,
			func(p *plan) { p.stop, p.start = set("a.service"), set("a.service") },
		},
		"changed mount is reloaded": {
			map[string]string{"mnt.mount": "[Mount]\nWhat=a\n"}, map[string]string{"mnt.mount": "[Mount]\nWhat=b\n"}, nil,
			func(p *plan) { p.reload = set("mnt.mount") },
		},
		"changed path is left to daemon-reload": {
			map[string]string{"a.path": "[Path]\nPathChanged=/a\n"}, map[string]string{"a.path": "[Path]\nPathChanged=/b\n"}, nil,
			func(*plan) {},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			active := test.active
			if active == nil {
				active = map[string]unitState{}
				for unit := range test.current {
					if filepath.Base(unit) == unit {
						active[unit] = running
					}
				}
			}
			p := planner{current: units(t, test.current), next: units(t, test.next), active: active, plan: newPlan()}
			if err := p.compareUnits(); err != nil {
				t.Fatal(err)
			}
			want := newPlan()
			test.want(&want)
			if !reflect.DeepEqual(p.plan, want) {
				t.Errorf("plan\n %+v, want\n %+v", p.plan, want)
			}
		})
	}
}

func TestListsCarryAKilledRunOver(t *testing.T) {
	l := lists{directory: t.TempDir()}
	before := newPlan()
	before.start, before.restart, before.reload = set("b.service", "a.service"), set("c.service"), set("d.service")
	if err := l.record(before); err != nil {
		t.Fatal(err)
	}
	after, err := l.resume()
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(after, before) {
		t.Errorf("resumed %+v, recorded %+v", after, before)
	}
	if err := l.record(newPlan()); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(l.directory); err != nil || len(entries) != 0 {
		t.Errorf("an empty plan leaves %v (%v)", entries, err)
	}
}

func TestExitCode(t *testing.T) {
	tests := []struct {
		activated, unitsCame bool
		failed               []string
		want                 int
	}{
		{true, true, nil, 0},
		{false, true, nil, exitActivationFailed},
		{true, false, nil, exitUnitsFailed},
		{true, true, []string{"a.service"}, exitUnitsFailed},
		{false, true, []string{"a.service"}, exitUnitsFailed},
	}
	for _, test := range tests {
		if got := exitCode(test.activated, test.unitsCame, test.failed); got != test.want {
			t.Errorf("exitCode(%v, %v, %v) = %d, want %d", test.activated, test.unitsCame, test.failed, got, test.want)
		}
	}
}
