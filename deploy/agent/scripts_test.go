package agent

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/deploy/agent/testdata/bundle"
)

// place is a private stand-in for the directories of a host.
type place struct {
	t *testing.T
	// lib stands for /var/lib/hdeploy, bin comes first in PATH.
	lib, bin string
}

func newPlace(t *testing.T) place {
	t.Helper()
	root := t.TempDir()
	p := place{t: t, lib: filepath.Join(root, "lib"), bin: filepath.Join(root, "bin")}
	if err := os.Mkdir(p.bin, 0o700); err != nil {
		t.Fatal(err)
	}
	// The agents of tests answer with their own arguments.
	t.Setenv("HDEPLOY_TEST_AGENT", "/bin/echo")
	return p
}

// here rewrites a script for the private directories, and changes nothing else.
func (p place) here(script string) string {
	p.t.Helper()
	for old, own := range map[string]string{
		"/var/lib/hdeploy":                p.lib,
		"PATH=/run/current-system/sw/bin": "PATH=" + p.bin + ":/run/current-system/sw/bin",
	} {
		if !strings.Contains(script, old) {
			p.t.Fatalf("the script does not speak of %s:\n%s", old, script)
		}
		script = strings.ReplaceAll(script, old, own)
	}
	return script
}

func (p place) program(name, script string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.bin, name), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		p.t.Fatal(err)
	}
}

// agentFile is where the agent of this machine lies.
func (p place) agentFile() string {
	p.t.Helper()
	hash, err := hashOf(architecture(p.t))
	if err != nil {
		p.t.Fatal(err)
	}
	return filepath.Join(p.lib, "agent", "hdeploy-agent-"+hash)
}

func architecture(t *testing.T) string {
	t.Helper()
	machine, err := exec.Command("uname", "-m").Output()
	if err != nil {
		t.Fatal(err)
	}
	arch, ok := platforms[strings.TrimSpace(string(machine))]
	if !ok {
		t.Fatalf("no agent for %s", machine)
	}
	return arch
}

func (p place) goodAgent() []byte {
	p.t.Helper()
	program, err := unpack(architecture(p.t))
	if err != nil {
		p.t.Fatal(err)
	}
	return program
}

// run runs a script as a host's shell does.
func (p place) run(shell, script string) (code int, stdout, stderr string) {
	p.t.Helper()
	return p.feed(shell, script, nil)
}

// feed runs a script with standard input.
func (p place) feed(shell, script string, stdin []byte) (code int, stdout, stderr string) {
	p.t.Helper()
	cmd := exec.Command(shell, "-c", p.here(script))
	cmd.Stdin = bytes.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func start(t *testing.T) string {
	t.Helper()
	script, err := startScript()
	if err != nil {
		t.Fatal(err)
	}
	return script
}

func installation(t *testing.T) string {
	t.Helper()
	script, err := installScript("")
	if err != nil {
		t.Fatal(err)
	}
	return script
}

// shells are those of this machine that a host may have as /bin/sh.
func shells(t *testing.T) []string {
	t.Helper()
	found := []string{"/bin/sh"}
	for _, name := range []string{"dash", "bash"} {
		if path, err := exec.LookPath(name); err == nil {
			found = append(found, path)
		}
	}
	return found
}

func TestScriptsInEveryShell(t *testing.T) {
	for _, shell := range shells(t) {
		t.Run(filepath.Base(shell), func(t *testing.T) {
			p := newPlace(t)
			if code, _, said := p.run(shell, start(t)); code != exitAbsent || lastLine(said) != uname(t) {
				t.Fatalf("absent: exit %d, said %q", code, said)
			}
			old := filepath.Join(p.lib, "agent", "hdeploy-agent-0000")
			if err := errors.Join(os.MkdirAll(filepath.Dir(old), 0o755), os.WriteFile(old, nil, 0o700)); err != nil {
				t.Fatal(err)
			}
			if code, out, said := p.feed(shell, installation(t), p.goodAgent()); code != 0 || out != "" {
				t.Fatalf("install: exit %d, %q, said %q", code, out, said)
			}
			p.holdsOnlyTheAgent()
			if code, out, said := p.run(shell, start(t)); code != 0 || out != "serve\n" {
				t.Errorf("start: exit %d, %q, said %q", code, out, said)
			}
		})
	}
}

func uname(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("uname", "-m").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func (p place) holdsOnlyTheAgent() {
	p.t.Helper()
	entries, err := os.ReadDir(filepath.Join(p.lib, "agent"))
	if err != nil || len(entries) != 1 {
		p.t.Fatalf("it holds %v, %v", entries, err)
	}
	for _, name := range []string{p.lib, filepath.Join(p.lib, "agent"), p.agentFile()} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o700 {
			p.t.Errorf("%s: %v, %v; want only root to enter", name, info, err)
		}
	}
}

func TestAnAlteredAgentIsNeverRun(t *testing.T) {
	p := newPlace(t)
	p.feed("/bin/sh", installation(t), p.goodAgent())
	if err := os.WriteFile(p.agentFile(), []byte("#!/bin/sh\necho evil\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := p.run("/bin/sh", start(t)); code != exitAbsent || out != "" {
		t.Errorf("on the host: exit %d, %q", code, out)
	}
	before := p.goodAgent()
	if err := os.WriteFile(p.agentFile(), before, 0o700); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := p.feed("/bin/sh", installation(t), []byte("#!/bin/sh\necho evil\n")); code != exitAltered || out != "" {
		t.Errorf("on the way: exit %d, %q", code, out)
	}
	p.holdsOnlyTheAgent()
	if now, err := os.ReadFile(p.agentFile()); err != nil || !bytes.Equal(now, before) {
		t.Errorf("the good one was replaced, %v", err)
	}
}

// A connection that dies in the middle leaves neither half an agent nor litter.
func TestAnUploadThatBreaksOff(t *testing.T) {
	p := newPlace(t)
	for _, arrived := range [][]byte{nil, p.goodAgent()[:10]} {
		if code, _, _ := p.feed("/bin/sh", installation(t), arrived); code != exitAltered {
			t.Errorf("exit %d", code)
		}
		if entries, err := os.ReadDir(filepath.Join(p.lib, "agent")); err != nil || len(entries) != 0 {
			t.Errorf("left %v, %v", entries, err)
		}
	}
}

func TestPlatforms(t *testing.T) {
	for _, c := range []struct {
		system, machine string
		code            int
	}{
		{"Linux", "x86_64", exitAbsent},
		{"Linux", "aarch64", exitAbsent},
		{"Linux", "armv7l", exitPlatform},
		{"Linux", "riscv64", exitPlatform},
		{"Linux", "i686", exitPlatform},
		{"Darwin", "arm64", exitPlatform},
		{"Darwin", "x86_64", exitPlatform},
		{"FreeBSD", "amd64", exitPlatform},
		{"", "", exitPlatform},
	} {
		t.Run(c.system+"-"+c.machine, func(t *testing.T) {
			p := newPlace(t)
			p.program("uname", fmt.Sprintf(`case "$1" in -s) echo "%s";; -m) echo "%s";; esac`, c.system, c.machine))
			code, out, said := p.run("/bin/sh", start(t))
			if code != c.code || out != "" || !strings.Contains(said, c.machine) {
				t.Errorf("exit %d, %q, said %q", code, out, said)
			}
			if code == exitAbsent {
				if _, ok := platforms[lastLine(said)]; !ok {
					t.Errorf("it asks for the agent of %q", said)
				}
			}
		})
	}
}

// A login shell hands single-quoted text on as it is: fish where there is no
// backslash in it, nushell where no quote, and csh where neither the line nor an
// exclamation mark breaks it.
func TestScriptsHaveNothingThatALoginShellChanges(t *testing.T) {
	for name, script := range map[string]string{"start": start(t), "install": installation(t), "obey": obeyScript} {
		if strings.ContainsAny(script, `'\!`+"\n\x00") {
			t.Errorf("%s contains what not every shell takes as it is:\n%s", name, script)
		}
		if name == "obey" {
			continue
		}
		if !strings.Contains(script, "umask 077") || !strings.HasPrefix(script, "PATH=/run/current-system/sw/bin:/run/wrappers/bin:") {
			t.Errorf("%s does not say where programs are and that files are private", name)
		}
	}
}

func TestHashes(t *testing.T) {
	for arch := range map[string]bool{"amd64": true, "arm64": true} {
		if program, err := unpack(arch); err != nil || !bytes.HasPrefix(program, []byte("#!/bin/sh")) {
			t.Errorf("%s: %q, %v", arch, program, err)
		}
	}
	if _, err := hashOf("mips"); !errors.Is(err, ErrNotBundled) {
		t.Errorf("got %v", err)
	}
	if _, err := unpack("mips"); !errors.Is(err, ErrNotBundled) {
		t.Errorf("got %v", err)
	}
}

// built is the bundle of this very build; a checkout that scripts/build has not
// seen yet has none.
var built embed.FS

func TestTheBuiltBundleIsWholeOrNotThere(t *testing.T) {
	tests := dist
	dist = built
	defer func() { dist = tests }()
	for _, arch := range platforms {
		program, err := unpack(arch)
		if errors.Is(err, ErrNotBundled) && program == nil {
			continue
		}
		if err != nil || !bytes.HasPrefix(program, []byte("\x7fELF")) {
			t.Errorf("%s: %d bytes, %v", arch, len(program), err)
		}
	}
}

func TestMain(m *testing.M) {
	if behaviour := os.Getenv("HDEPLOY_TEST_BEHAVIOUR"); behaviour != "" && len(os.Args) == 2 && os.Args[1] == "serve" {
		os.Exit(actAsAgent(behaviour))
	}
	built, dist = dist, bundle.FS
	os.Exit(m.Run())
}
