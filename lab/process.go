package lab

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// process names one process of this machine for good: process ids repeat, a pair of id
// and start time within one boot does not.
type process struct {
	PID    int    `json:"pid"`
	Start  uint64 `json:"start"`  // clock ticks since the machine's boot, proc(5) stat field 22
	BootID string `json:"bootID"` // the machine's, not a host's
}

// identify returns the identity of a process that runs now.
func identify(pid int) (process, error) {
	stat, err := readStat(pid)
	if err != nil {
		return process{}, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return process{}, fmt.Errorf("read boot id: %v", err)
	}
	return process{PID: pid, Start: stat.start, BootID: string(bytes.TrimSpace(boot))}, nil
}

// alive reports whether exactly this process still runs. A zombie does not.
func (p process) alive() bool {
	if p.PID <= 1 {
		return false
	}
	now, err := identify(p.PID)
	if err != nil || now != p {
		return false
	}
	stat, err := readStat(p.PID)
	if err != nil {
		return false
	}
	if stat.state == "Z" {
		// Our own dead child stays a zombie until somebody waits for it.
		_, _ = syscall.Wait4(p.PID, nil, syscall.WNOHANG, nil)
		return false
	}
	return stat.state != "X"
}

type procStat struct {
	state  string
	parent int
	start  uint64
}

func readStat(pid int) (procStat, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return procStat{}, fmt.Errorf("read process %d: %v", pid, err)
	}
	return parseStat(string(data))
}

// parseStat reads a line of /proc/PID/stat. The command name in parentheses may hold
// anything, so the fields are counted from the last parenthesis.
func parseStat(line string) (procStat, error) {
	end := strings.LastIndexByte(line, ')')
	fields := strings.Fields(line[end+1:])
	if end < 0 || len(fields) < 20 {
		return procStat{}, fmt.Errorf("parse process status: %d fields", len(fields))
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return procStat{}, fmt.Errorf("parse parent process: %v", err)
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return procStat{}, fmt.Errorf("parse start time: %v", err)
	}
	return procStat{state: fields[0], parent: parent, start: start}, nil
}

// childrenOf lists the processes whose parent is pid, lowest id first. The kernel keeps a
// list with each thread; where it was built without them, every process is looked at.
func childrenOf(pid int) []int {
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/[0-9]*/children", pid))
	if err != nil || len(lists) == 0 {
		return lookForChildren(pid)
	}
	var children []int
	for _, list := range lists {
		data, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for _, field := range strings.Fields(string(data)) {
			if child, err := strconv.Atoi(field); err == nil {
				children = append(children, child)
			}
		}
	}
	slices.Sort(children)
	return children
}

func lookForChildren(pid int) []int {
	var children []int
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	for _, entry := range entries {
		child, err := strconv.Atoi(filepath.Base(entry))
		if err != nil {
			continue
		}
		if stat, err := readStat(child); err == nil && stat.parent == pid {
			children = append(children, child)
		}
	}
	slices.Sort(children)
	return children
}

// innerPID is the id of a process in its own, innermost process namespace.
func innerPID(pid int) int {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if ids, found := strings.CutPrefix(line, "NSpid:"); found {
			fields := strings.Fields(ids)
			if len(fields) < 2 {
				return 0
			}
			inner, _ := strconv.Atoi(fields[len(fields)-1])
			return inner
		}
	}
	return 0
}
