package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/profiles/protocol"
)

// processTree makes a file system as /proc shows, of a machine that is up for 100 s.
type processTree struct {
	t   *testing.T
	dir string
}

const hostNamespace = "pid:[4026531836]"

func newProcessTree(t *testing.T) processTree {
	t.Helper()
	p := processTree{t: t, dir: t.TempDir()}
	p.write("uptime", "100.00 321.00\n")
	p.link("self/ns/pid", hostNamespace)
	return p
}

func (p processTree) path(name string) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		p.t.Fatal(err)
	}
	return path
}

func (p processTree) write(name, text string) {
	p.t.Helper()
	if err := os.WriteFile(p.path(name), []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p processTree) link(name, to string) {
	p.t.Helper()
	if err := os.Symlink(to, p.path(name)); err != nil {
		p.t.Fatal(err)
	}
}

// add adds a process that started so many seconds after the boot.
func (p processTree) add(pid, parent, started int, namespace, exe string, argv ...string) {
	p.t.Helper()
	dir := strconv.Itoa(pid)
	fields := make([]string, 20)
	for i := range fields {
		fields[i] = "0"
	}
	fields[0], fields[1], fields[19] = "S", strconv.Itoa(parent), strconv.Itoa(started*ticks)
	p.write(dir+"/stat", fmt.Sprintf("%d (a ) strange) name) %s\n", pid, strings.Join(fields, " ")))
	p.write(dir+"/cmdline", strings.Join(argv, "\x00")+"\x00")
	p.link(dir+"/exe", exe)
	p.link(dir+"/ns/pid", namespace)
}

func TestWorkersOfACIAgent(t *testing.T) {
	const agentProgram, worker = "/nix/store/a/bin/hercules-ci-agent", "/nix/store/a/bin/.hercules-ci-agent-worker-wrapped"
	const sandbox = "pid:[4026532999]"
	p := newProcessTree(t)
	p.add(100, 1, 1, hostNamespace, agentProgram, agentProgram, "--config", "hercules-ci-agent-worker")
	p.add(110, 100, 40, hostNamespace, worker, "hercules-ci-agent-worker", "build")
	p.add(120, 100, 20, hostNamespace, worker+" (deleted)", "hercules-ci-agent-worker", "effect")
	p.add(121, 120, 21, hostNamespace, "/nix/store/c/bin/crun", "crun", "run")
	p.add(122, 121, 22, sandbox, "/nix/store/b/bin/bash", "bash", "-e")
	p.add(123, 122, 23, sandbox, "/nix/store/h/bin/hdeploy", "hdeploy", "effect")
	p.add(130, 100, 60, hostNamespace, "/bin/bash", "/bin/bash", "/opt/hercules-ci-agent-worker", "build")
	p.add(131, 130, 61, hostNamespace, worker, "hercules-ci-agent-worker") // one task with its parent
	p.add(140, 100, 62, hostNamespace, "/nix/store/n/bin/nix", "nix", "build", "hercules-ci-agent-worker")
	pids := []int{100, 110, 120, 121, 122, 123, 130, 131, 140, 999}

	for _, c := range []struct {
		name  string
		asker protocol.Asker
		own   int
	}{
		{"somebody else asks", protocol.Asker{}, 0},
		{"the effect in its sandbox asks", protocol.Asker{PIDNamespace: sandbox, PID: 2}, 120},
		{"an effect without a sandbox asks", protocol.Asker{PIDNamespace: hostNamespace, PID: 131}, 130},
		{"a process of the host asks that is no task", protocol.Asker{PIDNamespace: hostNamespace, PID: 2}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			tasks := processes{p.dir}.workers(pids, c.asker)
			text, _ := json.Marshal(tasks)
			if len(tasks) != 3 || tasks[0].PID != 120 || tasks[1].PID != 110 || tasks[2].PID != 130 || tasks[0].Age != 80*time.Second {
				t.Fatalf("got %s", text)
			}
			for _, task := range tasks {
				if task.Own != (task.PID == c.own) {
					t.Errorf("whose is %d? %s", task.PID, text)
				}
			}
		})
	}
}

func TestAnAskerIsAProcessOfTheHostOrElsewhere(t *testing.T) {
	const sandbox, container = "pid:[4026532999]", "pid:[4026532111]"
	p := newProcessTree(t)
	p.add(100, 1, 1, hostNamespace, "/bin/bash", "bash")
	p.add(122, 100, 22, sandbox, "/bin/bash", "bash")
	for asker, want := range map[protocol.Asker]bool{
		{}: false, {PIDNamespace: sandbox, PID: 2}: false, {PIDNamespace: hostNamespace, PID: 100}: false,
		{PIDNamespace: container, PID: 2}: true, {PIDNamespace: hostNamespace, PID: 3}: true,
	} {
		if got := (processes{p.dir}).lacks(asker); got != want {
			t.Errorf("%+v is elsewhere: %v", asker, got)
		}
	}
	if (processes{t.TempDir()}).lacks(protocol.Asker{PIDNamespace: sandbox}) {
		t.Error("no process can be seen, and the asker is elsewhere")
	}
}

func TestMembersOfAControlGroup(t *testing.T) {
	p := newProcessTree(t)
	p.write("agent.service/cgroup.procs", "100\n0\n110\n")
	p.write("agent.service/effect/inner/cgroup.procs", "122\n")
	if got := groupMembers(filepath.Join(p.dir, "agent.service"), groupsDeep); fmt.Sprint(got) != "[100 110 122]" {
		t.Errorf("got %v", got)
	}
	if got := groupMembers(filepath.Join(p.dir, "gone.service"), groupsDeep); got != nil {
		t.Errorf("a group that is gone has %v", got)
	}
}

func TestOnlyServicesAreAskedFor(t *testing.T) {
	for _, unit := range []string{"", "--version", "a b.service", "a.timer", "../x.service", "*.service"} {
		if _, err := (agent{}).tasks(t.Context(), protocol.TasksRequest{Unit: unit}); err == nil || !strings.Contains(err.Error(), "not a service") {
			t.Errorf("%q: %v", unit, err)
		}
	}
}
