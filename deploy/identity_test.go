package deploy

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/deploy/nix"
	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

const machineOne, machineTwo = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"

func TestTheMachineProvesItself(t *testing.T) {
	written := hosts.Origins{}
	written.Say("machine_id", hosts.Origin{Level: "hosts.web1"})
	recorded := hosts.Origins{}
	recorded.Say("machine_id", hosts.Origin{Level: hosts.LevelRecorded, File: "/state/machines/web1.json"})
	for _, test := range []struct {
		pinned, found string
		origins       hosts.Origins
		cause, next   string
	}{
		{"", machineOne, nil, "", ""},
		{machineOne, machineOne, written, "", ""},
		{machineOne, machineTwo, written, "its machine-id is " + machineTwo + ", deploy.toml says " + machineOne, "hdeploy trust web1  #"},
		{machineOne, machineTwo, nil, "its machine-id is " + machineTwo + ", hdeploy trust says " + machineOne, "hdeploy trust web1 --replace"},
		{machineOne, machineTwo, recorded, "its machine-id is " + machineTwo + ", hdeploy trust says " + machineOne, "hdeploy trust web1 --replace"},
		{machineOne, "", written, "cannot be read", "web1"},
		{machineOne, "x\x1b[2J", written, "another machine", "web1"},
	} {
		h := newHostRun(&run{Request: Request{ForceIdentity: true}}, hosts.NewHost("web1"))
		h.MachineID, h.Origins = test.pinned, test.origins
		facts := protocol.Facts{NixOS: true, Running: "/nix/store/x", MachineID: test.found}
		requireRefusal(t, h.notOurs(facts), test.cause, test.next)
	}
}

// requireRefusal checks a refusal by its cause; an empty one stands for none.
func requireRefusal(t *testing.T, err error, cause, next string) {
	t.Helper()
	if cause == "" {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	var f *Failure
	if !errors.As(err, &f) || f.Code != CodeRefused || f.Step != "identity" || !strings.Contains(f.Cause.Error(), cause) || !strings.Contains(f.Next, next) {
		t.Errorf("got %v (%+v), want %s", err, f, cause)
	}
}

func TestTheHostIsCalledAsItsSystem(t *testing.T) {
	for _, test := range []struct {
		found, wanted string
		force         bool
		cause         string
		notes         int
	}{
		{"web1", "web1", false, "", 0},
		{"Web1.example.org", "web1", false, "", 0},
		{"web2", "", false, "", 0},
		{"", "web1", false, "", 0},
		{"web2", "web1", false, "calls itself web2, the new system web1", 0},
		{"web2.example.org", "web1", false, "calls itself web2.example.org", 0},
		{"web2", "web1", true, "", 1},
	} {
		notes := 0
		r := &run{Request: Request{ForceIdentity: test.force, Events: func(e event.Event) { notes++ }}}
		h := newHostRun(r, hosts.NewHost("web1"))
		h.facts.Hostname, h.system = test.found, nix.Evaluated{HostName: test.wanted}
		requireRefusal(t, h.checkName(), test.cause, "hdeploy switch web1 --force-identity")
		if notes != test.notes {
			t.Errorf("%s and %s: %d notes", test.found, test.wanted, notes)
		}
	}
}

// tree is a git repository with two commits and an upstream that has three.
type tree struct {
	t                      *testing.T
	dir                    string
	first, second, foreign string
}

func newTree(t *testing.T) tree {
	t.Helper()
	base := t.TempDir()
	upstream := tree{t: t, dir: filepath.Join(base, "upstream")}
	upstream.git("init", "-q", "-b", "main", upstream.dir)
	clone := tree{t: t, dir: filepath.Join(base, "clone")}
	clone.first = upstream.commit("1")
	clone.second = upstream.commit("2")
	upstream.git("clone", "-q", upstream.dir, clone.dir)
	clone.foreign = upstream.commit("3")
	return clone
}

func (r tree) git(args ...string) string {
	r.t.Helper()
	command := exec.Command("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.org"}, args...)...)
	command.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	output, err := command.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %s: %v: %s", strings.Join(args, " "), err, output)
	}
	return strings.TrimSpace(string(output))
}

func (r tree) write(text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, "flake.nix"), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r tree) commit(text string) string {
	r.t.Helper()
	r.write(text)
	r.git("-C", r.dir, "add", "flake.nix")
	r.git("-C", r.dir, "commit", "-q", "-m", text)
	return r.git("-C", r.dir, "rev-parse", "HEAD")
}

// judged looks at the tree for a host that runs a commit, and returns the notes and
// what the host is refused for.
func (r tree) judged(running string, strict bool) (notes []string, h *hostRun) {
	r.t.Helper()
	engine := &run{Request: Request{Flake: r.dir, Strict: strict, Events: func(e event.Event) {
		if e.Note != nil {
			notes = append(notes, e.Host+": "+e.Note.Text)
		}
	}}}
	h = newHostRun(engine, hosts.NewHost("web1"))
	h.facts.Running = "/nix/store/x"
	h.facts.Transaction = &protocol.Status{State: transaction.Committed, New: "/nix/store/x", Revision: running, Deployer: "bob@desk"}
	engine.lookAtTree(r.t.Context())
	engine.judgeTree(r.t.Context(), []*hostRun{h})
	return notes, h
}

func TestTheTreeIsJudged(t *testing.T) {
	for _, test := range []struct {
		name    string
		spoil   func(tree)
		running func(tree) string
		// said is what every note and the refusal has, empty for none.
		said   string
		record transaction.Tree
	}{
		{"as it should be", func(tree) {}, func(r tree) string { return r.second }, "", transaction.Tree{}},
		{"ahead of the host", func(tree) {}, func(r tree) string { return r.first }, "", transaction.Tree{}},
		{"nothing known of the host", func(tree) {}, func(tree) string { return "" }, "", transaction.Tree{}},
		{"dirty", func(r tree) { r.write("changed") }, func(r tree) string { return r.second }, "dirty: 1 file is not as in commit", transaction.Tree{}},
		{"behind", func(r tree) { r.git("-C", r.dir, "fetch", "-q") }, func(r tree) string { return r.second }, "1 commit behind origin/main", transaction.Tree{Behind: 1}},
		{"older", func(r tree) { r.git("-C", r.dir, "checkout", "-q", r.first) }, func(r tree) string { return r.second },
			"web1: the flake's git tree is older than what runs on the host", transaction.Tree{Older: true}},
		{"apart", func(r tree) { r.git("-C", r.dir, "checkout", "-q", r.first); r.commit("other") }, func(r tree) string { return r.second },
			"lacks changes that run on the host", transaction.Tree{Older: true}},
		{"of another repository", func(tree) {}, func(r tree) string { return r.foreign }, "does not have commit", transaction.Tree{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newTree(t)
			test.spoil(r)
			notes, h := r.judged(test.running(r), false)
			if (test.said == "") != (notes == nil) || h.failure != nil || len(notes) > 0 && !strings.Contains(strings.Join(notes, " "), test.said) {
				t.Errorf("said %q, failed with %v", notes, h.failure)
			}
			if h.tree() != test.record {
				t.Errorf("recorded is %+v", h.tree())
			}
			_, h = r.judged(test.running(r), true)
			if test.said == "" {
				if h.failure != nil {
					t.Errorf("refused: %v", h.failure)
				}
				return
			}
			if h.failure == nil {
				t.Fatal("not refused by --strict")
			}
			said := strings.TrimPrefix(test.said, "web1: ")
			if h.failure.Code != CodeRefused || !strings.Contains(h.failure.Cause.Error(), said) || !strings.Contains(h.failure.Next, "git -C "+r.dir) {
				t.Errorf("refused with %+v", h.failure)
			}
		})
	}
}

func TestWhereNoTreeIsNothingIsSaid(t *testing.T) {
	plain := tree{t: t, dir: t.TempDir()}
	if notes, h := plain.judged(machineOne, true); notes != nil || h.failure != nil {
		t.Errorf("%v, %v", notes, h.failure)
	}
}

func TestATreeWithoutGitIsRefusedByStrictOnly(t *testing.T) {
	r := newTree(t)
	t.Setenv("PATH", t.TempDir())
	if notes, h := r.judged(r.second, false); h.failure != nil || !strings.Contains(strings.Join(notes, ""), "git is not installed") {
		t.Errorf("%v, %v", notes, h.failure)
	}
	if _, h := r.judged(r.second, true); h.failure == nil {
		t.Error("not refused")
	}
}

func TestTreeOfAFlake(t *testing.T) {
	for flake, want := range map[string]string{
		"/srv/flake": "/srv/flake", "/srv/flake?dir=nix": "/srv/flake", "path:/srv/flake": "/srv/flake", "git+file:/srv/flake": "/srv/flake",
		"git+file:///srv/flake?submodules=1": "/srv/flake", "git+file:/srv/flake?ref=main": "", "git+file:/srv/flake?rev=0123": "",
		"github:a/b": "", "git+ssh://git@example.org/a": "", "nixpkgs": "",
	} {
		if got := treeOf(flake); got != want {
			t.Errorf("%s: %q", flake, got)
		}
	}
}
