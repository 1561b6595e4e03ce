package nix

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// replay feeds a recorded log to a tracker and returns it with what it told.
func replay(t *testing.T, v view, file string) (*tracker, *recorder) {
	t.Helper()
	log, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	told := &recorder{}
	tr := newTracker(v, told.add)
	w := &lineWriter{most: mostLogLine, line: tr.line}
	if _, err := w.Write(log); err != nil {
		t.Fatal(err)
	}
	w.flush()
	tr.report(true)
	return tr, told
}

func TestRecordedFailures(t *testing.T) {
	log := []string{"about to fail", "second line", "bold"}
	cases := []struct {
		file  string
		view  view
		kind  Kind
		cause string
		log   []string
	}{
		{"2.26/eval-loops.log", evaluating, Recursion, "infinite recursion encountered", nil},
		{"2.26/eval-throws.log", evaluating, "", "Failed assertions: - you must set a root password", nil},
		{"2.26/eval-syntax.log", evaluating, Syntax, "syntax error, unexpected '}'", nil},
		{"2.26/eval-nobuild.log", evaluating, "", "attribute 'system' missing", nil},
		{"2.26/eval-badflag.log", evaluating, "", "unrecognised flag '--nonsense'", nil},
		{"2.26/eval-noflake.log", evaluating, "", "getting status of '/home/me/nope': No such file or directory", nil},
		{"2.26/eval-net.log", evaluating, "", "resolving Git reference 'master': revspec 'master' not found", nil},
		{"2.34/eval-net.log", evaluating, "", "Failed to fetch git repository 'https://127.0.0.1:1/x.git'", nil},
		{"2.26/build-fail.log", building, BuilderFailed, "builder for '/nix/store/vn5z8p45jpn0xwc7s6h795cqm9i1ib1a-failing-2.0.drv' failed with exit code 3", log},
		{"2.34/build-fail.log", building, BuilderFailed, "Cannot build '/nix/store/vn5z8p45jpn0xwc7s6h795cqm9i1ib1a-failing-2.0.drv'. Reason: builder failed with exit code 3", log},
		{"2.26/daemon-fail.log", building, BuilderFailed, "builder for '/nix/store/vn5z8p45jpn0xwc7s6h795cqm9i1ib1a-failing-2.0.drv' failed with exit code 3", log},
		{"2.34/daemon-fail.log", building, BuilderFailed, "Cannot build '/nix/store/vn5z8p45jpn0xwc7s6h795cqm9i1ib1a-failing-2.0.drv'. Reason: builder failed with exit code 3", log},
		{"2.26/build-hash.log", building, HashMismatch, "hash mismatch in fixed-output derivation '/nix/store/z8jn2nxv7yyp1kf40sc0km630x5mhyd7-fixed.drv': specified: sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= got:    sha256-mOpuTyFvL7S2n/+bOkSELDhobKaF8/VdxIxdP7EQe+Q=", nil},
		{"2.34/daemon-hash.log", building, HashMismatch, "hash mismatch in fixed-output derivation '/nix/store/z8jn2nxv7yyp1kf40sc0km630x5mhyd7-fixed.drv': specified: sha256-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= got:    sha256-mOpuTyFvL7S2n/+bOkSELDhobKaF8/VdxIxdP7EQe+Q=", nil},
		{"2.26/build-foreign.log", building, WrongSystem, "a 'aarch64-linux' with features {} is required to build '/nix/store/gmnnkd45xj1lvgb3dxbfhskc7vfmwqz7-foreign.drv', but I am a 'x86_64-linux' with features {benchmark, big-parallel, kvm, nixos-test, uid-range}", nil},
		{"2.34/build-foreign.log", building, WrongSystem, "Cannot build '/nix/store/gmnnkd45xj1lvgb3dxbfhskc7vfmwqz7-foreign.drv'. Reason: platform mismatch Required system: 'aarch64-linux' Current system: 'x86_64-linux'", nil},
		{"2.26/build-gone.log", building, Collected, "cannot build missing derivation '/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-gone.drv'", nil},
		{"2.34/build-gone.log", building, Collected, "failed to obtain derivation of '/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-gone.drv'", nil},
		{"2.26/build-unreachable.log", building, Unreachable, "cannot connect to socket at '/run/nowhere.sock': No such file or directory", nil},
		{"2.26/copy-unreachable.log", copying, Unreachable, "cannot connect to socket at '/run/nowhere.sock': No such file or directory", nil},
		{"2.26/copy-gone.log", copying, Collected, "path '/nix/store/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-gone' is required, but there is no substituter that can build it", nil},
		{"2.26/copy-untrusted.log", copying, Untrusted, "cannot add path '/nix/store/q8jsygrc1gpn5qy616cyw7xcsdzl3ri3-part-2' because it lacks a signature by a trusted key", nil},
		{"2.26/copy-lost.log", copying, Disconnected, "Nix daemon disconnected unexpectedly (maybe it crashed?)", nil},
		{"2.26/copy-full.log", copying, DiskFull, "writing to file: No space left on device", nil},
		{"2.34/copy-full.log", copying, Disconnected, "cannot open connection to remote store 'unix:///run/relay/s': error: read of 32768 bytes: Connection reset by peer", nil},
	}
	for _, c := range cases {
		t.Run(c.file, func(t *testing.T) {
			tr, _ := replay(t, c.view, c.file)
			e := tr.explain("step", os.ErrInvalid)
			if e.Kind != c.kind || e.Cause != c.cause || !slices.Equal(e.Log, c.log) {
				t.Errorf("got kind %q\ncause %q\nlog %q", e.Kind, e.Cause, e.Log)
			}
			if !strings.Contains(e.Output, "error:") || strings.ContainsAny(e.Output, "\x1b\r\x07") {
				t.Errorf("output is not Nix's own error as plain text: %q", e.Output)
			}
		})
	}
}

func TestClassify(t *testing.T) {
	for cause, want := range map[string]Kind{
		"path '/nix/store/djbz8bywpz268wqhyn3hcgy1lvmwvkvf-source/b.nix' does not exist":                         Untracked,
		"Path 'b.nix' in the repository \"/home/me\" is not tracked by Git. To make it visible to Nix, run: git": Untracked,
		"path '/nix/store/0ccnxa25whszw7mgbgyzdm4nqc0zwnm8-source/flake.nix' does not exist":                     NoFlake,
		"path '/nix/store/0ccnxa25whszw7mgbgyzdm4nqc0zwnm8-x.drv' is not valid":                                  Collected,
		"the option `x' is not valid":             "",
		"attribute 'web1' missing":                "",
		"stack overflow; max-call-depth exceeded": Recursion,
	} {
		if got := classify(cause); got != want {
			t.Errorf("%q: %q, want %q", cause, got, want)
		}
	}
}

func TestRecordedBuild(t *testing.T) {
	for _, version := range []string{"2.26", "2.34"} {
		tr, told := replay(t, building, version+"/build-ok.log")
		tr.finish()
		tr.report(true)
		if last := told.last(); last.Done != 6 || last.Total != 6 {
			t.Errorf("%s: %+v", version, last)
		}
		lines := told.lines()
		for _, want := range []string{
			"noisy-1.0: plain", "noisy-1.0: red text", "noisy-1.0: thirty", "noisy-1.0: bell tab end",
			"noisy-1.0: bad utf8 \ufffd\ufffd end", "noisy-1.0: café", "noisy-1.0: after title", "noisy-1.0: no newline at end", "part-1: part 1 line 3",
		} {
			if !slices.Contains(lines, want) {
				t.Errorf("%s: no line %q in %q", version, want, lines)
			}
		}
		if len(tr.failures) != 0 || len(tr.activities) != 0 {
			t.Errorf("%s: %d failures, %d activities are left", version, len(tr.failures), len(tr.activities))
		}
	}
}

func TestRecordedCopy(t *testing.T) {
	sizes := Sizes{
		"/nix/store/q8jsygrc1gpn5qy616cyw7xcsdzl3ri3-part-2":                  400,
		"/nix/store/rg6n37cmxpnfnnlk34id359hak1hpjqx-part-3":                  600,
		"/nix/store/vc01rqw5j5qqmwvmvp24s3zabykq6nf7-noisy-1.0":               20,
		"/nix/store/8c2kq808l8vbi9wz8wk6cmi3jds5wwyg-nixos-system-web2-25.05": 1,
	}
	told := &recorder{}
	tr := newTracker(copying, told.add)
	tr.sizes = sizes
	tr.now = func() time.Time { return time.Now().Add(time.Duration(len(told.all)) * time.Hour) }
	log, err := os.ReadFile("testdata/2.26/copy-ok.log")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(log) {
		tr.line(bytes.TrimSuffix(line, []byte("\n")))
	}
	if before := told.last(); before.Paths != 3 || before.Done != 1020 || before.Total != 1021 || before.Activity != "nixos-system-web2-25.05" {
		t.Errorf("during the last path: %+v", before)
	}
	tr.finish()
	tr.report(true)
	if last := told.last(); last.Paths != 4 || last.PathsTotal != 4 || last.Done != 1021 || last.Activity != "" {
		t.Errorf("at the end: %+v", last)
	}
}

func TestRecordedNotes(t *testing.T) {
	for _, version := range []string{"2.26", "2.34"} {
		_, told := replay(t, evaluating, version+"/eval-warns.log")
		want := []string{"info: trace: host warns", "info: trace: a trace\nof two lines", "warning: evaluation warning: a warning"}
		if !slices.Equal(told.notes(), want) {
			t.Errorf("%s: %q", version, told.notes())
		}
		_, told = replay(t, copying, version+"/copy-untrusted.log")
		if notes := told.notes(); len(notes) != 2 || !strings.HasPrefix(notes[0], "warning: ignoring the client-specified setting") {
			t.Errorf("%s: %q", version, notes)
		}
	}
	_, told := replay(t, evaluating, "2.26/eval-net.log")
	if !slices.Contains(told.lines(), "nix: error: executing 'git': No such file or directory") {
		t.Errorf("what git said is missing: %q", told.lines())
	}
	_, told = replay(t, evaluating, "2.26/daemon-ifd.log")
	if !slices.Contains(told.lines(), "nix: building name-file") || !slices.Contains(told.lines(), "name-file: building a name") {
		t.Errorf("a build during the evaluation is not told: %q", told.lines())
	}
}

// A daemon that dies has nobody to write JSON for it.
func TestCrashWithoutLog(t *testing.T) {
	tr := newTracker(building, nil)
	tr.line([]byte("terminate called after throwing an instance of 'std::bad_alloc'"))
	if e := tr.explain("build", os.ErrInvalid); !strings.Contains(e.Cause, "bad_alloc") || e.Output == "" {
		t.Errorf("got %+v", e)
	}
	if e := newTracker(building, nil).explain("build", os.ErrInvalid); !strings.Contains(e.Cause, "without a reason") {
		t.Errorf("got %+v", e)
	}
}

func TestDiskFullInBuilder(t *testing.T) {
	tr := newTracker(building, nil)
	for _, line := range []string{
		`@nix {"action":"start","id":7,"type":105,"fields":["/nix/store/x-big.drv"]}`,
		`@nix {"action":"result","id":7,"type":101,"fields":["dd: writing 'out': No space left on device"]}`,
		`@nix {"action":"msg","level":0,"raw_msg":"builder for '/nix/store/x-big.drv' failed with exit code 1","msg":"error: builder for '/nix/store/x-big.drv' failed with exit code 1"}`,
	} {
		tr.line([]byte(line))
	}
	if e := tr.explain("build", os.ErrInvalid); e.Kind != DiskFull || e.Hint == "" {
		t.Errorf("got %+v", e)
	}
}

func TestParseEntry(t *testing.T) {
	fast := `@nix {"action":"result","fields":[8,409880,0,0],"id":57419417780230,"type":105}`
	e, ok := parseEntry([]byte(fast))
	if !ok || e.ID != 57419417780230 || e.number(0) != 8 || e.number(1) != 409880 || e.progress == nil {
		t.Errorf("got %+v", e)
	}
	cases := map[string]bool{
		`@nix {"action":"result","fields":[8,409880,0,0],"id":1,"type":105} `:        true, // by the decoder
		`@nix {"action":"result","fields":[-8,1,0,0],"id":-1,"type":105}`:            true,
		`@nix {"action":"result","fields":[8,1,0,0,9],"id":1,"type":105}`:            true,
		`@nix {"action":"result","fields":["x",null,{},[]],"id":1,"type":105}`:       true,
		`@nix {"action":"result","fields":[99999999999999999999],"id":1,"type":105}`: true,
		`@nix {"action":"result","fields":{},"id":1}`:                                false,
		`@nix {"action":7}`:                  false,
		`@nix {"id":"7"}`:                    false,
		`@nix {"id":18446744073709551615}`:   false,
		`@nix `:                              false,
		`@nix [`:                             false,
		`@nix null`:                          true,
		`{"action":"stop"}`:                  false,
		"@nix " + strings.Repeat("[", 20000): false,
	}
	for line, want := range cases {
		e, ok := parseEntry([]byte(line))
		if ok != want {
			t.Errorf("%.80q: ok is %v", line, ok)
		}
		for i := range 6 {
			if n := e.number(i); n < 0 {
				t.Errorf("%.80q: field %d is %d", line, i, n)
			}
		}
	}
}

func TestHostileLogKeepsItsLimits(t *testing.T) {
	tr := newTracker(building, nil)
	for i := range mostActivities + 1000 {
		tr.start(&entry{Action: "start", ID: int64(i), Type: activityBuilds})
	}
	if len(tr.activities) > mostActivities {
		t.Errorf("%d activities are kept", len(tr.activities))
	}
	long := strings.Repeat("x", 100<<10)
	for range 100 {
		tr.fail(failure{text: "error: " + long})
		tr.looseLine(long)
	}
	if e := tr.explain("build", os.ErrInvalid); len(e.Output) > mostErrorBytes+1000 || len(e.Cause) > 1000 {
		t.Errorf("output %d, cause %d bytes", len(e.Output), len(e.Cause))
	}
	tr = newTracker(copying, nil)
	for range 300_000 {
		tr.line([]byte("error: x"))
	}
	if e := tr.explain("copy", os.ErrInvalid); len(e.Output) > mostErrorBytes {
		t.Errorf("output is %d bytes", len(e.Output))
	}
}

func TestLineWriter(t *testing.T) {
	var lines []string
	w := &lineWriter{most: 5, line: func(b []byte) { lines = append(lines, string(b)) }}
	for _, part := range []string{"a\nbc", "d\n\nlonger than", " that\nok\n", "12345\n123456\nend"} {
		if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	w.flush()
	want := []string{"a", "bcd", "", "longe", "ok", "12345", "12345", "end"}
	if !slices.Equal(lines, want) {
		t.Errorf("got %q", lines)
	}
}

func FuzzTracker(f *testing.F) {
	for _, pattern := range []string{"testdata/*/*.log"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatal("no recorded logs", err)
		}
		for _, file := range files {
			log, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(log[:min(len(log), 3000)])
		}
	}
	f.Add([]byte(`@nix {"action":"start","id":-1,"type":105,"fields":[1,2]}` + "\n" + `@nix {"action":"result","id":-1,"type":105,"fields":[-1,9223372036854775807]}`))
	f.Fuzz(func(t *testing.T, log []byte) {
		for _, v := range []view{evaluating, building, copying} {
			told := &recorder{}
			tr := newTracker(v, told.add)
			tr.sizes = Sizes{"/nix/store/a-b": 3}
			w := &lineWriter{most: 1 << 12, line: tr.line}
			_, _ = w.Write(log)
			w.flush()
			tr.finish()
			tr.report(true)
			e := tr.explain("step", os.ErrInvalid)
			if e.Cause == "" && len(tr.loose)+len(tr.failures) == 0 {
				t.Error("no cause")
			}
			harmless(t, e.Cause, e.Output)
			harmless(t, e.Log...)
			harmless(t, told.lines()...)
			harmless(t, told.notes()...)
			harmless(t, told.last().Activity)
		}
	})
}

func harmless(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if i := strings.IndexFunc(text, func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f || r >= 0x80 && r < 0xa0 }); i >= 0 {
			t.Errorf("a control character in %q", text)
		}
	}
}

func FuzzParseProgress(f *testing.F) {
	f.Add([]byte(`{"action":"result","fields":[8,409880,0,0],"id":57419417780230,"type":105}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		fast, ok := parseProgress(body)
		if !ok {
			return
		}
		// What the quick reader accepts, the decoder must read the same.
		slow, ok := parseEntry(append([]byte("@nix "), append(body, ' ')...))
		if !ok || slow.ID != fast.ID || slow.Type != fast.Type || slow.number(0) != fast.number(0) || slow.number(1) != fast.number(1) {
			t.Errorf("%q: %+v, but %+v", body, fast, slow)
		}
	})
}

func BenchmarkProgressLine(b *testing.B) {
	line := []byte(`@nix {"action":"result","fields":[409841,409880,0,0],"id":57419417780230,"type":105}`)
	tr := newTracker(building, nil)
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		tr.line(line)
	}
	if tr.count.Done > math.MaxInt32 {
		b.Fatal(tr.count)
	}
}
