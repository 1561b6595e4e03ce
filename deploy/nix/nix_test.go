package nix

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fakeNix is a shell script in the place of nix. It keeps its arguments, one a
// line and each call ended by an empty line, in the file "calls" beside it.
func fakeNix(t *testing.T, script string) *Nix {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "nix")
	text := "#!/bin/sh\nhere=" + dir + "\nfor a; do printf '%s\\n' \"$a\"; done >>$here/calls; echo >>$here/calls\n" + script + "\n"
	if err := os.WriteFile(program, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return &Nix{Program: program}
}

func calls(t *testing.T, n *Nix) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(n.Program), "calls"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestFind(t *testing.T) {
	n := fakeNix(t, "")
	t.Setenv("PATH", filepath.Dir(n.Program))
	if got, err := Find(t.Context()); err != nil || got.Program != n.Program {
		t.Errorf("got %+v, %v", got, err)
	}
	t.Setenv("PATH", t.TempDir())
	var missing *MissingError
	if _, err := Find(t.Context()); !errors.As(err, &missing) || !strings.Contains(err.Error(), "2.18") {
		t.Errorf("got %v", err)
	}
	t.Chdir(filepath.Dir(n.Program))
	t.Setenv("PATH", ".")
	if _, err := Find(t.Context()); !errors.As(err, &missing) {
		t.Errorf("a nix of the current directory: got %v", err)
	}
}

func TestSplitAttribute(t *testing.T) {
	cases := map[string][]string{
		"a":                       {"a"},
		"nixosConfigurations.w.c": {"nixosConfigurations", "w", "c"},
		`a."web.example.org".b`:   {"a", "web.example.org", "b"},
		`a."".b`:                  {"a", "", "b"},
		`a.we$ird${x}.b'`:         {"a", "we$ird${x}", "b'"},
		"":                        nil,
		"a..b":                    nil,
		".a":                      nil,
		"a.":                      nil,
		`a."b`:                    nil,
		"a.\x00":                  nil,
	}
	for path, want := range cases {
		got, err := splitAttribute(path)
		if !reflect.DeepEqual(got, want) || (err == nil) != (want != nil) {
			t.Errorf("%q: %q, %v", path, got, err)
		}
	}
}

func TestQuote(t *testing.T) {
	for text, want := range map[string]string{
		`plain`:        `"plain"`,
		`a"b\c`:        `"a\"b\\c"`,
		`${x} $${y} $`: `"\${x} \$\${y} \$"`,
		"a\r\nb\tc":    `"a\r\nb\tc"`,
		"\"; x = 1":    `"\"; x = 1"`,
	} {
		if got := quote(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

const answerOne = `{"nix":"2.26.3","hosts":[{"host":"web1","derivation":"/nix/store/a-web1.drv","output":"out","out":"/nix/store/b-web1","system":"x86_64-linux","hostName":"web1","expectations":{"units":[]}}]}`

var web1 = []Attribute{{Host: "web1", Path: "nixosConfigurations.web1.config.system.build.toplevel"}}

func TestEvaluateArguments(t *testing.T) {
	n := fakeNix(t, "echo '"+answerOne+"'")
	n.Extra = []string{"--override-input", "nixpkgs", "path:/x"}
	got, err := n.Evaluate(t.Context(), "/home/me/fleet", web1, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Evaluated{DrvPath: "/nix/store/a-web1.drv", Output: "out", OutPath: "/nix/store/b-web1", System: "x86_64-linux", HostName: "web1", Expectations: []byte(`{"units":[]}`)}
	if !reflect.DeepEqual(got["web1"], want) {
		t.Errorf("got %+v", got["web1"])
	}
	seen := calls(t, n)
	if begin := "--extra-experimental-features\nnix-command flakes\neval\n--log-format\ninternal-json\n--json\n/home/me/fleet#.\n--apply\n"; !strings.HasPrefix(seen, begin) {
		t.Errorf("arguments: %.300s", seen)
	}
	if end := "--override-input\nnixpkgs\npath:/x\n\n"; !strings.HasSuffix(seen, end) || strings.Count(seen, "\neval\n") != 1 {
		t.Errorf("one call, with the user's arguments at its end: %s", seen[len(seen)-100:])
	}
	if host := `{ host = "web1"; attribute = "nixosConfigurations.web1.config.system.build.toplevel"; path = [ "nixosConfigurations" "web1" "config" "system" "build" "toplevel" ]; place = [ "nixosConfigurations" "web1" ]; config = [ "nixosConfigurations" "web1" "config" ]; login = null; }`; !strings.Contains(seen, host) {
		t.Errorf("no %s in the expression", host)
	}
}

func TestEvaluateRefuses(t *testing.T) {
	n := fakeNix(t, "exit 9")
	for _, flake := range []string{"", "-f", "/x#y", "/x\ny", "/x\x1b[31m"} {
		if _, err := n.Evaluate(t.Context(), flake, web1, nil); err == nil {
			t.Errorf("flake %q was taken", flake)
		}
	}
	if _, err := n.Evaluate(t.Context(), "/x", append(web1, web1...), nil); err == nil {
		t.Error("a host was taken twice")
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(n.Program), "calls")); err == nil {
		t.Error("nix was called")
	}
}

func TestEvaluateAnswers(t *testing.T) {
	cases := map[string]struct{ answer, want string }{
		"too old":        {strings.Replace(answerOne, "2.26.3", "2.8.0", 1), "hdeploy needs Nix 2.18 or newer"},
		"no JSON":        {"hello", "read the answer of nix"},
		"host left out":  {`{"nix":"2.26.3","hosts":[]}`, "evaluate web1: read the answer of nix: the host is not in it"},
		"no derivation":  {strings.Replace(answerOne, "a-web1.drv", "a-web1", 1), "are not a derivation and its output"},
		"option as path": {strings.Replace(answerOne, "/nix/store/b-web1", "--delete", 1), "are not a derivation and its output"},
		"unknown": {`{"nix":"2.26.3","missing":[{"host":"web1","gap":{"at":["nixosConfigurations","we.b\u001b[31m"],"available":["a","b"]}}]}`,
			`evaluate web1: the flake has no nixosConfigurations."we.b", only a, b`},
	}
	for name, c := range cases {
		n := fakeNix(t, "cat <<'E'\n"+c.answer+"\nE")
		_, err := n.Evaluate(t.Context(), "/x", web1, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// Nix 2.18 has no "#.": each of the flake's outputs takes a call.
func TestEvaluateWithNix218(t *testing.T) {
	n := fakeNix(t, `case "$*" in
*--version) echo "nix (Nix) 2.18.1"; exit;;
*'/x#. '*) echo '@nix {"action":"msg","level":0,"msg":"error: no","raw_msg":"no"}' >&2; exit 1;;
*'/x#"nothing" '*) echo "error: flake 'path:/x' does not provide attribute 'nothing'" >&2; exit 1;;
esac
echo '`+strings.Replace(answerOne, "2.26.3", "2.18.1", 1)+`'`)
	if _, err := n.Evaluate(t.Context(), "/x", web1, nil); err != nil {
		t.Fatal(err)
	}
	if seen := calls(t, n); !strings.Contains(seen, "/x#\"nixosConfigurations\"\n--apply\nvalue: (") {
		t.Errorf("calls: %s", seen)
	}
	var unknown *UnknownAttributeError
	if _, err := n.Evaluate(t.Context(), "/x", []Attribute{{Host: "web1", Path: "nothing.web1"}}, nil); !errors.As(err, &unknown) || unknown.Attribute != "nothing" {
		t.Errorf("got %v", err)
	}
}

func TestEvaluateWithOldNix(t *testing.T) {
	n := fakeNix(t, `case "$*" in --version) echo "nix (Nix) 2.3.16"; exit;; esac; echo "error: unrecognised flag '--extra-experimental-features'" >&2; exit 1`)
	var old *TooOldError
	if _, err := n.Evaluate(t.Context(), "/x", web1, nil); !errors.As(err, &old) || !strings.Contains(err.Error(), "2.3.16") {
		t.Errorf("got %v", err)
	}
}

func TestEvaluateNamesTheHost(t *testing.T) {
	n := fakeNix(t, `case "$*" in --version) echo "nix (Nix) 2.26.3"; exit;; esac
cat >&2 <<'E'
@nix {"action":"msg","level":0,"msg":"trace: hdeploy evaluates web1"}
@nix {"action":"msg","level":0,"msg":"trace: hdeploy evaluates somebody else"}
@nix {"action":"msg","level":0,"msg":"error: at web1\\n\\n       error: infinite recursion encountered","raw_msg":"infinite recursion encountered"}
E
exit 1`)
	told := &recorder{}
	_, err := n.Evaluate(t.Context(), "/x", web1, told.add)
	var failed *Error
	if !errors.As(err, &failed) || failed.Host != "web1" || failed.Kind != Recursion || err.Error() != "evaluate web1: infinite recursion encountered" {
		t.Errorf("got %+v", err)
	}
	if notes := told.notes(); !slices.Equal(notes, []string{"info: trace: hdeploy evaluates somebody else"}) {
		t.Errorf("notes: %q", notes)
	}
}

func TestEvaluateInBatches(t *testing.T) {
	n := fakeNix(t, `echo '{"nix":"2.26.3"}'`)
	var hosts []Attribute
	for i := range hostsPerCall + 1 {
		hosts = append(hosts, Attribute{Host: strconv.Itoa(i), Path: "a." + strconv.Itoa(i)})
	}
	_, err := n.Evaluate(t.Context(), "/x", hosts, nil)
	if err == nil {
		t.Error("an empty answer was taken")
	}
	if strings.Contains(calls(t, n), `host = "32"`) {
		t.Error("one call had to keep all configurations in memory")
	}
}

func TestBuildArguments(t *testing.T) {
	n := fakeNix(t, "")
	n.Extra = []string{"--max-jobs", "1"}
	list := []Derivation{{"a", "/nix/store/a-x.drv", ""}, {"b", "/nix/store/b-x.drv", "bin"}, {"c", "/nix/store/a-x.drv", "out"}}
	if err := n.Build(t.Context(), list, "/run/links", nil); err != nil {
		t.Fatal(err)
	}
	want := "--extra-experimental-features\nnix-command flakes\nbuild\n--log-format\ninternal-json\n/nix/store/a-x.drv^out\n/nix/store/b-x.drv^bin\n--out-link\n/run/links/system\n--max-jobs\n1\n\n"
	if got := calls(t, n); got != want {
		t.Errorf("got %s", got)
	}
	for _, bad := range []Derivation{{"a", "/nix/store/a-x", ""}, {"a", "-x.drv", ""}, {"a", "/nix/store/a-x.drv", "out,bin"}, {"a", "/nix/store/a^b.drv", ""}, {"a", "/a.drv", ""}} {
		if err := n.Build(t.Context(), []Derivation{bad}, "", nil); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func TestCopyArguments(t *testing.T) {
	n := fakeNix(t, "")
	if err := n.Copy(t.Context(), Transfer{To: Store{URI: "unix:///tmp/hd-1/s"}, Paths: []string{"/nix/store/a-x", "/nix/store/b-x"}}, nil); err != nil {
		t.Fatal(err)
	}
	want := "--extra-experimental-features\nnix-command flakes\ncopy\n--log-format\nraw\n--no-check-sigs\n--to\nunix:///tmp/hd-1/s\n/nix/store/a-x\n/nix/store/b-x\n\n"
	if got := calls(t, n); got != want {
		t.Errorf("got %s", got)
	}
	for _, bad := range []string{"", "x", "--all", "/nix/store/a b", "/nix/store/a#b", "/nix/store/../etc/passwd^", "/nix/store/"} {
		if err := n.Copy(t.Context(), Transfer{To: Store{URI: "unix:///s"}, Paths: []string{bad}}, nil); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestCopyArgumentsOfATransfer(t *testing.T) {
	const begin = "--extra-experimental-features\nnix-command flakes\ncopy\n--log-format\nraw\n"
	store := Store{URI: "unix:///s", Settings: map[string]string{"substituters": "https://a", "builders": ""}}
	for want, c := range map[string]Transfer{
		"--to\nunix:///s\n/nix/store/a-x\n\n":                                      {To: store, CheckSignatures: true},
		"--no-check-sigs\n--from\nssh-ng://x\n--to\nunix:///s\n/nix/store/a-x\n\n": {To: store, From: "ssh-ng://x"},
		"--no-check-sigs\n--substitute-on-destination\n--option\nconnect-timeout\n10\n--option\nbuilders\n\n--option\nsubstituters\nhttps://a\n--to\nunix:///s\n/nix/store/a-x\n\n": {To: store, Substitute: true},
	} {
		n := fakeNix(t, "")
		c.Paths = []string{"/nix/store/a-x"}
		if err := n.Copy(t.Context(), c, nil); err != nil {
			t.Fatal(err)
		}
		if got := calls(t, n); got != begin+want {
			t.Errorf("got %q, want %q", got, begin+want)
		}
	}
	for _, bad := range []string{"", "--all"} {
		if err := fakeNix(t, "").Copy(t.Context(), Transfer{To: Store{URI: bad}}, nil); err == nil {
			t.Errorf("the store %q was taken", bad)
		}
	}
}

func TestBuildInArguments(t *testing.T) {
	n := fakeNix(t, "")
	n.Extra = []string{"--keep-going"}
	store := Store{URI: "unix:///s", Settings: map[string]string{"max-jobs": "2"}}
	if err := n.BuildIn(t.Context(), store, Derivation{"a", "/nix/store/a-x.drv", ""}, nil); err != nil {
		t.Fatal(err)
	}
	want := "--extra-experimental-features\nnix-command flakes\nbuild\n--log-format\ninternal-json\n/nix/store/a-x.drv^out\n--no-link\n--store\nunix:///s\n--eval-store\nauto\n--option\nmax-jobs\n2\n--keep-going\n\n"
	if got := calls(t, n); got != want {
		t.Errorf("got %s", got)
	}
	if err := n.BuildIn(t.Context(), Store{}, Derivation{"a", "/nix/store/a-x.drv", ""}, nil); err == nil {
		t.Error("no store was taken")
	}
	n = fakeNix(t, "printf '/nix/store/a-x 120\\n'")
	if sizes, err := n.ClosureIn(t.Context(), store, "/nix/store/a-x"); err != nil || sizes.Total() != 120 {
		t.Errorf("got %v, %v", sizes, err)
	}
	if got := calls(t, n); !strings.Contains(got, "path-info\n--log-format\ninternal-json\n--store\nunix:///s\n--recursive\n--size\n/nix/store/a-x\n") {
		t.Errorf("got %s", got)
	}
}

// A daemon that does not trust this user keeps its own settings, as it was asked to.
func TestExpectedRemarks(t *testing.T) {
	log, err := os.ReadFile("testdata/2.26/copy-untrusted.log")
	if err != nil {
		t.Fatal(err)
	}
	for given, want := range map[string]int{"sandbox": 1, "cores": 2} {
		told := &recorder{}
		n := fakeNix(t, "cat >&2 <<'E'\n"+string(log)+"E")
		to := Store{URI: "unix:///s", Settings: map[string]string{given: ""}}
		if err := n.Copy(t.Context(), Transfer{To: to, Paths: []string{"/nix/store/a-x"}}, told.add); err != nil {
			t.Fatal(err)
		}
		if notes := told.notes(); len(notes) != want {
			t.Errorf("%s: %q", given, notes)
		}
	}
}

func TestClosure(t *testing.T) {
	n := fakeNix(t, `printf '/nix/store/a-x  \t    120\n/nix/store/b-y\t        1025312\n'`)
	sizes, err := n.Closure(t.Context(), "/nix/store/a-x")
	if err != nil || len(sizes) != 2 || sizes.Total() != 1025432 {
		t.Errorf("got %v, %v", sizes, err)
	}
	for _, bad := range []string{"x", "/nix/store/a-x", "/nix/store/a-x -1", "/nix/store/a-x 1 2", "/nix/store/a-x 99999999999999999999", "/nix/store/a-x 9999999999999999"} {
		if _, err := parseSizes([]byte(bad + "\n")); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// startedPid waits for a script's line with a process id.
func startedPid(t *testing.T, lines <-chan string) int {
	t.Helper()
	select {
	case line := <-lines:
		pid, err := strconv.Atoi(line)
		if err != nil {
			t.Fatal(err)
		}
		return pid
	case <-time.After(10 * time.Second):
		t.Fatal("the script did not start")
	}
	return 0
}

func TestCancelEndsTheWholeGroup(t *testing.T) {
	for name, script := range map[string]string{
		"obedient": "sleep 300 & echo $! >&2; wait",
		"stubborn": "trap '' TERM; (trap '' TERM; sleep 300) & echo $! >&2; wait",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := fakeNix(t, script)
			lines := make(chan string, 10)
			ctx, cancel := context.WithCancelCause(t.Context())
			stop := errors.New("stop")
			ended := make(chan error, 1)
			go func() {
				ended <- n.Build(ctx, []Derivation{{"a", "/nix/store/a-x.drv", ""}}, "", func(p Progress) {
					if p.Line != nil {
						lines <- p.Line.Text
					}
				})
			}()
			child := startedPid(t, lines)
			cancel(stop)
			select {
			case err := <-ended:
				if !errors.Is(err, stop) {
					t.Errorf("got %v", err)
				}
			case <-time.After(graceToEnd + 10*time.Second):
				t.Fatal("the call did not end")
			}
			waitGone(t, child)
		})
	}
}

// waitGone waits until the process is dead; a zombie of another parent counts.
func waitGone(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			return
		}
		if stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat"); err == nil && strings.Contains(string(stat), ") Z ") {
			return
		}
	}
	t.Errorf("process %d survived", pid)
}

func TestDeadline(t *testing.T) {
	n := fakeNix(t, "exec sleep 300")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := n.Closure(ctx, "/nix/store/a-x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// A shared ssh connection that a fetcher left behind holds stderr open.
func TestSomebodyHoldsStderr(t *testing.T) {
	n := fakeNix(t, "sleep 30 & echo $! >&2; exit 0")
	pid := make(chan string, 1)
	start := time.Now()
	err := n.Build(t.Context(), []Derivation{{"a", "/nix/store/a-x.drv", ""}}, "", func(p Progress) {
		if p.Line != nil {
			pid <- p.Line.Text
		}
	})
	if err != nil || time.Since(start) > 20*time.Second {
		t.Errorf("got %v after %v", err, time.Since(start))
	}
	_ = syscall.Kill(startedPid(t, pid), syscall.SIGKILL)
}

func TestFloodsAreCapped(t *testing.T) {
	n := fakeNix(t, "head -c 5000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo 'error: this is why' >&2; exit 1")
	_, err := n.Closure(t.Context(), "/nix/store/a-x")
	var failed *Error
	if !errors.As(err, &failed) || failed.Cause != "this is why" || len(failed.Output) > mostErrorBytes {
		t.Errorf("got %.200v", err)
	}
	n = fakeNix(t, "head -c 70000000 /dev/zero")
	if _, err := n.Closure(t.Context(), "/nix/store/a-x"); err == nil || !strings.Contains(err.Error(), "more than 64 MiB") {
		t.Errorf("got %.200v", err)
	}
}

func TestNixThatCannotStart(t *testing.T) {
	n := &Nix{Program: filepath.Join(t.TempDir(), "nix")}
	var failed *Error
	if err := n.Build(t.Context(), []Derivation{{"a", "/nix/store/a-x.drv", ""}}, "", nil); !errors.As(err, &failed) || failed.Step != "build" {
		t.Errorf("got %v", err)
	}
}
