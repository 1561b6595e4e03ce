package lab

import (
	"os"
	"os/exec"
	"slices"
	"testing"
)

func TestParseStat(t *testing.T) {
	const rest = " S 7 1 1 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 1 0 4242 1000 1"
	for name, test := range map[string]struct {
		line string
		want procStat
		ok   bool
	}{
		"plain":              {"12 (bash)" + rest, procStat{"S", 7, 4242}, true},
		"parenthesis inside": {"12 (a) S 9 (b)" + rest, procStat{"S", 7, 4242}, true},
		"short":              {"12 (bash) S 7", procStat{}, false},
		"no name":            {"12 bash" + rest, procStat{}, false},
		"empty":              {"", procStat{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseStat(test.line)
			if (err == nil) != test.ok || got != test.want {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestIdentityEndsWithTheProcess(t *testing.T) {
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	self, err := identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if !self.alive() {
		t.Error("a running process is not alive")
	}
	if !slices.Contains(lookForChildren(os.Getpid()), cmd.Process.Pid) {
		t.Error("the child is not found among all processes")
	}
	if !slices.Contains(childrenOf(os.Getpid()), cmd.Process.Pid) {
		t.Error("a child is not found")
	}
	later := self
	later.Start++
	if later.alive() {
		t.Error("another start time is the same process")
	}
	rebooted := self
	rebooted.BootID = "another"
	if rebooted.alive() {
		t.Error("a process of another boot is alive")
	}
	_ = stdin.Close()
	_ = cmd.Wait()
	if self.alive() {
		t.Error("a process that ended is alive")
	}
}

func TestZeroProcessIsNotAlive(t *testing.T) {
	for _, p := range []process{{}, {PID: 1}, {PID: -1}} {
		if p.alive() {
			t.Errorf("%+v is alive", p)
		}
	}
}
