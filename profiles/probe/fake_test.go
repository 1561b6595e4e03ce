package probe

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/profiles/systemd"
)

// standIn is a directory with a systemctl and a journalctl that answer what
// real ones of systemd 252 answered when testdata was recorded.
type standIn struct {
	t   testing.TB
	dir string
}

const fakeSystemctl = `#!/bin/sh
d=${0%/*}
echo "systemctl $*" >> "$d/calls"
[ -e "$d/hang" ] && exec /bin/sleep 60
[ -e "$d/broken" ] && { echo "Failed to connect to bus: No such file or directory" >&2; exit 1; }
field() { found=$3; while IFS== read -r key value; do [ "$key" = "$2" ] && found=$value; done < "$1"; echo "$found"; }
each() { for f in "$d"/units/*; do [ -e "$f" ] && "$1" "$f"; done; }
state() { echo "$(field "$1" Id) $(field "$1" LoadState) $(field "$1" ActiveState) $(field "$1" SubState) a unit"; }
job() { j=$(field "$1" Job); [ -n "$j" ] && [ "$j" != 0 ] && echo "$j $(field "$1" Id) start $(field "$1" JobState waiting)"; }
case $1 in
list-units) each state; exit 0 ;;
list-jobs) each job; exit 0 ;;
esac
while [ "$1" != -- ]; do shift; done
shift
for name; do
	if [ "$name" = '*' ]; then
		for f in "$d"/units/*; do [ -e "$f" ] && /bin/cat "$f"; done
	elif [ -e "$d/units/$name" ]; then
		/bin/cat "$d/units/$name"
	else
		printf 'Id=%s\nLoadState=not-found\nActiveState=inactive\nSubState=dead\nJob=\n\n' "$name"
	fi
done
exit 0
`

const fakeJournalctl = `#!/bin/sh
d=${0%/*}
echo "journalctl $*" >> "$d/calls"
[ -e "$d/hang-journal" ] && exec /bin/sleep 60
[ -e "$d/broken-journal" ] && { echo "No journal files were opened due to insufficient permissions." >&2; exit 1; }
for a; do
	case $a in
	MESSAGE_ID=39f53479d3a045ac8e11786248231fbf | MESSAGE_ID=be02cf6855d2428ba40df7e9d022f03d) f=ended ;;
	MESSAGE_ID=*) f=restarts ;;
	_SYSTEMD_INVOCATION_ID=*) f=journal.${a#*=} ;;
	_SYSTEMD_UNIT=*) if [ -e "$d/unitlog" ]; then f=unitlog; else f=journal.${a#*=}; fi ;;
	--lines=1) [ $# -eq 6 ] && f=last ;;
	esac
done
[ -e "$d/$f" ] && /bin/cat "$d/$f"
exit 0
`

func newStandIn(t testing.TB) *standIn {
	t.Helper()
	s := &standIn{t, t.TempDir()}
	for name, script := range map[string]string{"systemctl": fakeSystemctl, "journalctl": fakeJournalctl} {
		s.program(name, onThisMachine(t, script))
	}
	if err := os.Mkdir(filepath.Join(s.dir, "units"), 0o700); err != nil {
		t.Fatal(err)
	}
	return s
}

// onThisMachine puts the programs of a script where this machine has them: of
// /bin, NixOS has only sh.
func onThisMachine(t testing.TB, script string) string {
	t.Helper()
	return regexp.MustCompile(`/bin/(cat|sleep|true|echo)`).ReplaceAllStringFunc(script, func(found string) string {
		path, err := exec.LookPath(filepath.Base(found))
		if err != nil {
			t.Fatal(err)
		}
		return path
	})
}

func (s *standIn) write(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// program writes a script that can be run.
func (s *standIn) program(name, script string) {
	s.t.Helper()
	writeProgram(s.t, filepath.Join(s.dir, name), script)
}

// writeProgram lets no other test fork meanwhile: its child would hold the file
// open for writing until it execs, and running the file be refused (ETXTBSY).
func writeProgram(t testing.TB, path, script string) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
}

func (s *standIn) host(b *Baseline) *Host {
	return &Host{Systemd: systemd.Manager{Bin: s.dir}, Baseline: b}
}

func (s *standIn) calls() string {
	s.t.Helper()
	content, err := os.ReadFile(filepath.Join(s.dir, "calls"))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(content)
}

func recorded(t testing.TB, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// show puts every unit of a recorded `systemctl show` in place.
func (s *standIn) show(recording string) {
	s.t.Helper()
	for block := range strings.SplitSeq(strings.TrimSpace(recorded(s.t, recording)), "\n\n") {
		s.unit(block)
	}
}

// unit puts one unit in place; changes are KEY=value lines that replace its own.
func (s *standIn) unit(block string, changes ...string) {
	s.t.Helper()
	for _, change := range changes {
		key, _, _ := strings.Cut(change, "=")
		block = regexp.MustCompile(`(?m)^`+key+`=.*\n?`).ReplaceAllString(block, "")
		block = strings.TrimSpace(block) + "\n" + change
	}
	id := regexp.MustCompile(`(?m)^Id=(.*)$`).FindStringSubmatch(block)
	if id == nil {
		s.t.Fatalf("no Id in %q", block)
	}
	s.write("units/"+id[1], strings.TrimSpace(block)+"\n\n")
}

// alias puts another name of a unit in place.
func (s *standIn) alias(name, id string) {
	s.t.Helper()
	if err := os.Symlink(id, filepath.Join(s.dir, "units", name)); err != nil {
		s.t.Fatal(err)
	}
}

// change replaces properties of a unit that is in place.
func (s *standIn) change(name string, changes ...string) {
	s.t.Helper()
	block, err := os.ReadFile(filepath.Join(s.dir, "units", name))
	if err != nil {
		s.t.Fatal(err)
	}
	s.unit(strings.TrimSpace(string(block)), changes...)
}

// journal puts a recorded journal in place for an invocation, with its clock
// shifted so that the last entry is as old as given.
func (s *standIn) journal(invocation, recording string, age time.Duration) {
	s.t.Helper()
	s.write("journal."+invocation, shifted(recorded(s.t, recording), age))
}

// lines puts plain lines in place as what an invocation wrote.
func (s *standIn) lines(invocation string, age time.Duration, lines ...string) {
	s.t.Helper()
	var text strings.Builder
	for _, line := range lines {
		fmt.Fprintf(&text, `{"MESSAGE":%q,"_PID":"77","__CURSOR":"s=1","__MONOTONIC_TIMESTAMP":"%d"}`+"\n", line, monotonic()-age.Microseconds())
	}
	s.write("journal."+invocation, text.String())
}

var stamp = regexp.MustCompile(`"__MONOTONIC_TIMESTAMP":"(\d+)"`)

func shifted(entries string, age time.Duration) string {
	all := stamp.FindAllStringSubmatch(entries, -1)
	newest, _ := strconv.ParseInt(all[len(all)-1][1], 10, 64)
	by := monotonic() - age.Microseconds() - newest
	return stamp.ReplaceAllStringFunc(entries, func(found string) string {
		at, _ := strconv.ParseInt(stamp.FindStringSubmatch(found)[1], 10, 64)
		return fmt.Sprintf(`"__MONOTONIC_TIMESTAMP":"%d"`, at+by)
	})
}

// quick is a spec of a kind that tries once.
func quick(kind Kind) Spec {
	s := Defaults(kind)
	s.Settle, s.Soak, s.Passes = 0, 0, 1
	s.Deadline, s.Interval = 2*time.Second, 2*time.Second
	return s
}

func runOne(t *testing.T, s Spec, host *Host) Result {
	t.Helper()
	return Run(t.Context(), []Spec{s}, host, nil)[0]
}

// want compares verdict and class, and looks for a part of the evidence.
func (r Result) want(t *testing.T, verdict, class, evidence string) {
	t.Helper()
	if r.Verdict != verdict || r.Class != class {
		t.Errorf("got %s/%s, want %s/%s: %+v", r.Verdict, r.Class, verdict, class, r)
	}
	if !strings.Contains(r.Seen+"\n"+r.Evidence, evidence) {
		t.Errorf("no %q in %+v", evidence, r)
	}
}
