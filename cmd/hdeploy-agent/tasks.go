package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/systemd"
)

const (
	// procfs and cgroupfs are where the kernel shows processes and control groups.
	procfs   = "/proc"
	cgroupfs = "/sys/fs/cgroup"
	// mostTasks caps the list, groupsDeep how far below the agent's own control group
	// the container of an effect may be.
	mostTasks  = 1000
	groupsDeep = 8
	// ticks are the units of start times in /proc, USER_HZ: 100 on all of Linux.
	ticks = 100
)

// unitName is what may be asked for: it becomes an argument of systemctl.
var unitName = regexp.MustCompile(`^[A-Za-z0-9_@][A-Za-z0-9:_.@-]{0,200}\.service$`)

func (a agent) tasks(ctx context.Context, p protocol.TasksRequest) (any, error) {
	if !unitName.MatchString(p.Unit) {
		return nil, refuse("not a service: %q", p.Unit)
	}
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	units, err := systemd.Of("/run/current-system").Show(ctx, p.Unit)
	if err != nil {
		return nil, refuse("ask for %s: %v", p.Unit, err)
	}
	host := processes{procfs}
	// Whoever is not root does not see in which namespaces the processes of others are.
	result := protocol.TasksResult{Elsewhere: os.Geteuid() == 0 && host.lacks(p.Asker)}
	group := units[p.Unit].ControlGroup
	if group == "" || group == "/" {
		return result, nil // it does not run
	}
	result.Tasks = host.workers(groupMembers(filepath.Join(cgroupfs, group), groupsDeep), p.Asker)
	return result, nil
}

// lacks says that an asker who can be told is none of the processes.
func (p processes) lacks(asker protocol.Asker) bool {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return false
	}
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return asker.PIDNamespace != "" && len(pids) > 0 && p.find(pids, asker) == 0
}

// groupMembers are the processes of a control group and of those below it. One that ends
// meanwhile is none.
func groupMembers(dir string, deep int) []int {
	var members []int
	text, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	for _, field := range strings.Fields(string(text)) {
		if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
			members = append(members, pid)
		}
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() && deep > 0 {
			members = append(members, groupMembers(filepath.Join(dir, e.Name()), deep-1)...)
		}
	}
	return members
}

// processes are those that a file system as /proc shows.
type processes struct{ dir string }

func (p processes) file(pid int, name string) string {
	return filepath.Join(p.dir, strconv.Itoa(pid), name)
}

// workers are those of the processes that work on a task, oldest first.
func (p processes) workers(pids []int, asker protocol.Asker) []protocol.Task {
	var tasks []protocol.Task
	own := p.ancestors(p.find(pids, asker))
	for _, pid := range pids {
		if p.isWorker(pid) && len(tasks) < mostTasks {
			tasks = append(tasks, protocol.Task{PID: pid, Age: p.age(pid), Own: own[pid]})
		}
	}
	// A worker that has started another one is one task with it.
	all := slices.Clone(tasks)
	tasks = slices.DeleteFunc(tasks, func(t protocol.Task) bool {
		above := p.ancestors(p.parent(t.PID))
		return slices.ContainsFunc(all, func(o protocol.Task) bool { return above[o.PID] })
	})
	slices.SortFunc(tasks, func(a, b protocol.Task) int { return int(b.Age - a.Age) })
	return tasks
}

// workerName is that of the agent's program for one task, and what the wrapper of nixpkgs
// makes of it.
var workerName = regexp.MustCompile(`^\.?hercules-ci-agent-worker(-wrapped)?$`)

// isWorker goes by the program, and where that is an interpreter by what it interprets.
func (p processes) isWorker(pid int) bool {
	if exe, err := os.Readlink(p.file(pid, "exe")); err == nil && workerName.MatchString(filepath.Base(strings.TrimSuffix(exe, " (deleted)"))) {
		return true
	}
	line, _ := os.ReadFile(p.file(pid, "cmdline"))
	for i, word := range bytes.SplitN(line, []byte{0}, 3) {
		if i < 2 && workerName.MatchString(filepath.Base(string(word))) {
			return true
		}
	}
	return false
}

// find is the process of the list that runs in the asker's PID namespace, zero for none.
// In a namespace that the host shares with it, the asker is the one of its number.
func (p processes) find(pids []int, asker protocol.Asker) int {
	if asker.PIDNamespace == "" {
		return 0
	}
	shared, _ := os.Readlink(filepath.Join(p.dir, "self", "ns", "pid"))
	for _, pid := range pids {
		namespace, err := os.Readlink(p.file(pid, "ns/pid"))
		if err == nil && namespace == asker.PIDNamespace && (namespace != shared || pid == asker.PID) {
			return pid
		}
	}
	return 0
}

// ancestors are a process and those that it descends from.
func (p processes) ancestors(pid int) map[int]bool {
	above := map[int]bool{}
	for pid > 1 && !above[pid] {
		above[pid] = true
		pid = p.parent(pid)
	}
	return above
}

// stat are the fields of proc_pid_stat(5) after the program's name, which may hold
// anything; the first is the state.
func (p processes) stat(pid int) []string {
	text, _ := os.ReadFile(p.file(pid, "stat"))
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
}

func (p processes) parent(pid int) int {
	if fields := p.stat(pid); len(fields) > 1 {
		parent, _ := strconv.Atoi(fields[1])
		return parent
	}
	return 0
}

// age is how long a process has been there; zero where that cannot be told.
func (p processes) age(pid int) time.Duration {
	fields := p.stat(pid)
	if len(fields) < 20 {
		return 0
	}
	text, _ := os.ReadFile(filepath.Join(p.dir, "uptime"))
	up, _, _ := strings.Cut(string(text), " ")
	uptime, err := strconv.ParseFloat(up, 64)
	started, err2 := strconv.ParseFloat(fields[19], 64)
	if err != nil || err2 != nil {
		return 0
	}
	return max(0, time.Duration((uptime-started/ticks)*float64(time.Second)))
}
