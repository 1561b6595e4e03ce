package probe

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const opnixUnit = "opnix-secrets.service"

// wantNotes wants a note for each of the texts.
func (r Result) wantNotes(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, text) }) {
			t.Errorf("no note says %q: %q", text, r.Notes)
		}
	}
}

// fragment gives OpNix's unit a file with this text.
func (v *vault) fragment(text string) {
	v.t.Helper()
	v.write("fragment", text)
	v.change(opnixUnit, "FragmentPath="+filepath.Join(v.dir, "fragment"))
}

// ranAgain is OpNix's unit in another invocation that began now.
func (v *vault) ranAgain(invocation string) {
	v.t.Helper()
	v.change(opnixUnit, "InvocationID="+invocation, "ExecMainStartTimestampMonotonic="+number(monotonic()))
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

const otherRun = "0123456789abcdef0123456789abcdef"

func TestOnePasswordTellsEverythingAtOnce(t *testing.T) {
	v := newVault(t)
	must(t, os.Chmod(filepath.Join(v.dir, "token"), 0o604))
	must(t, os.Chmod(v.secret().Path, 0o640))
	v.secret().Group = "65533"
	v.change(agentUnit, "After=basic.target")
	r := runOne(t, v.spec, v.host(nil))
	r.want(t, Fail, "mode", "0604")
	r.wantNotes(t, "owner: ", "mode: ", "secret joinToken", "ordering: ")
	if !strings.HasPrefix(r.Hint, "chmod 0640 ") {
		t.Errorf("hint %q", r.Hint)
	}
}

func TestOnePasswordCapsWhatItTells(t *testing.T) {
	v := newVault(t)
	for _, name := range strings.Fields("a b c d e f g h i j k l") {
		ask[OnePasswordSpec](v.spec).Secrets = append(ask[OnePasswordSpec](v.spec).Secrets, Secret{Name: name, Path: filepath.Join(v.dir, "none", name)})
	}
	r := runOne(t, v.spec, v.host(nil))
	r.want(t, Fail, "missing-file", "secret a")
	if len(r.Notes) != mostNotes || !strings.HasPrefix(r.Notes[mostNotes-1], "and ") {
		t.Errorf("notes %q", r.Notes)
	}
}

func TestOnePasswordFreshness(t *testing.T) {
	for _, c := range []struct {
		name           string
		after          func(*vault)
		verdict, class string
		note           string
	}{
		{"nothing changed", func(*vault) {}, Pass, "", "not run again"},
		{"run again though unchanged", func(v *vault) { v.ranAgain(otherRun) }, Pass, "", ""},
		{"changed and run again", func(v *vault) { v.fragment("[Service]\nExecStart=/new\n"); v.ranAgain(otherRun) }, Pass, "", ""},
		{"changed and not run again", func(v *vault) { v.fragment("[Service]\nExecStart=/new\n") }, Fail, "stale", ""},
		{"changed and run before the trial", func(v *vault) {
			v.fragment("[Service]\nExecStart=/new\n")
			v.change(opnixUnit, "InvocationID="+otherRun)
		}, Fail, "stale", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newVault(t)
			v.fragment("[Service]\nExecStart=/old\n")
			v.change(opnixUnit, "ExecMainStartTimestampMonotonic=1")
			b := v.before()
			c.after(v)
			r := runOne(t, v.spec, v.host(b))
			r.want(t, c.verdict, c.class, "")
			if c.note != "" {
				r.wantNotes(t, c.note)
			}
			if c.class == "stale" && r.Hint != "systemctl restart "+opnixUnit {
				t.Errorf("hint %q", r.Hint)
			}
		})
	}
}

// After a reboot the clock of the baseline is another one, and everything ran anew.
func TestOnePasswordFreshAfterAReboot(t *testing.T) {
	v := newVault(t)
	v.fragment("old")
	b := v.before()
	b.BootID = "another"
	b.Monotonic = 1 << 60
	v.fragment("new")
	v.ranAgain(otherRun)
	runOne(t, v.spec, v.host(b)).want(t, Pass, "", "")
}

func TestOnePasswordRemoteFaultsOnlyFailWhereSecretsAreLost(t *testing.T) {
	for line, class := range map[string]string{
		"  Cause: dial tcp: lookup my.1password.com: no such host":       "network",
		"  - rate_limited: 1Password rate limit exceeded; wait":          "rate-limited",
		"  - transient: unexpected status code: 503 Service Unavailable": "outage",
	} {
		v := newVault(t)
		v.show("crash.show")
		v.lines(v.before().Units[opnixUnit].Invocation, 0, line)
		runOne(t, v.spec, v.host(nil)).want(t, Unknown, class, "")
		v.write("secret", "")
		r := runOne(t, v.spec, v.host(nil))
		r.want(t, Fail, class, "")
		r.wantNotes(t, "empty-file")
		must(t, os.Remove(v.secret().Path))
		r = runOne(t, v.spec, v.host(nil))
		r.want(t, Fail, class, "")
		r.wantNotes(t, "missing-file")
	}
}

func TestOnePasswordTriedAgainAndAgain(t *testing.T) {
	v := newVault(t)
	retrying := []string{"ActiveState=activating", "SubState=auto-restart", "Result=exit-code", "ExecMainStatus=1", "NRestarts=3", "Job="}
	v.change(opnixUnit, retrying...)
	v.lines(v.invocation, 0, "user 'atticd' does not exist")
	runOne(t, v.spec, v.host(nil)).want(t, Fail, "unknown-owner", "auto-restart")

	// The next attempt has just begun, and is silent yet.
	v.change(opnixUnit, "SubState=start", "Result=success", "ExecMainStatus=0", "Job=457")
	v.ranAgain(otherRun)
	v.lines(opnixUnit, 0, "user 'atticd' does not exist")
	runOne(t, v.spec, v.host(nil)).want(t, Fail, "unknown-owner", "")

	// One that goes on for long hangs.
	v.change(opnixUnit, "ExecMainStartTimestampMonotonic="+number(monotonic()-time.Minute.Microseconds()))
	runOne(t, v.spec, v.host(nil)).want(t, Fail, "hung", "")
}

// journald does not always learn the invocation of a process that ends at once.
func TestOnePasswordThatEndsAtOnce(t *testing.T) {
	v := newVault(t)
	v.change(opnixUnit, "ActiveState=activating", "SubState=auto-restart", "Result=exit-code", "ExecMainStatus=1", "NRestarts=0",
		"ExecMainStartTimestampMonotonic="+number(monotonic()-time.Second.Microseconds()))
	v.lines(v.invocation, 0)
	v.lines(opnixUnit, 0, "user 'atticd' does not exist")
	runOne(t, v.spec, v.host(nil)).want(t, Fail, "unknown-owner", "")

	v.lines(opnixUnit, time.Minute, "user 'atticd' does not exist") // of a start before
	runOne(t, v.spec, v.host(nil)).want(t, Fail, "failed", "")
}

// An activation starts what failed once more: the same unit that fails again is not
// the trial's fault, another one is.
func TestOnePasswordFailedBeforeAndStartedAgain(t *testing.T) {
	v := newVault(t)
	failed := []string{"ActiveState=failed", "SubState=failed", "Result=exit-code", "ExecMainStatus=1"}
	v.fragment("text")
	v.change(opnixUnit, failed...)
	v.write("token", "")
	time.Sleep(20 * time.Millisecond)
	b := v.before()
	v.ranAgain(otherRun)
	v.lines(otherRun, 0, "ERROR: Token file is empty!")
	must(t, os.Chmod(filepath.Join(v.dir, "token"), 0o640)) // as OpNix does in each run
	r := runOne(t, v.spec, v.host(b))
	r.want(t, Unknown, ClassFailedBefore, "Token file is empty")
	if MustRollBack([]Result{r}) {
		t.Error("rolls back")
	}
	v.fragment("another")
	runOne(t, v.spec, v.host(b)).want(t, Unknown, ClassFailedBefore, "")
}

// A system whose secrets belong to nobody is not excused by an outage before it.
func TestOnePasswordFailedBeforeForAnotherReason(t *testing.T) {
	for was, class := range map[string]string{
		"dial tcp: lookup my.1password.com: no such host": "unknown-owner",
		"ERROR: Token file is empty!":                     ClassFailedBefore,
		"Error: user 'atticd' does not exist":             ClassFailedBefore,
	} {
		v := newVault(t)
		v.change(opnixUnit, "ActiveState=failed", "SubState=failed", "Result=exit-code", "ExecMainStatus=1")
		b := v.before()
		v.lines(b.Units[opnixUnit].Invocation, time.Hour, was)
		v.ranAgain(otherRun)
		v.lines(otherRun, 0, "Error: user 'atticd' does not exist")
		verdict := Unknown
		if class == "unknown-owner" {
			verdict = Fail
		}
		runOne(t, v.spec, v.host(b)).want(t, verdict, class, "atticd")
	}
}

func TestOnePasswordDeadlock(t *testing.T) {
	v := newVault(t)
	v.show("hung.show")
	v.lines(v.before().Units[opnixUnit].Invocation, time.Minute, "INFO: Restarting service hercules-ci-agent")
	r := runOne(t, v.spec, v.host(nil))
	r.want(t, Fail, "hung", "queued: hercules-ci-agent.service start waiting")
	if !strings.Contains(r.Hint, "0.10.1") {
		t.Errorf("hint %q", r.Hint)
	}
	// Without anybody who waits for it, OpNix's age is not the cause.
	v.secret().Services = nil
	v.lines(v.before().Units[opnixUnit].Invocation, time.Minute, "Initialized 1Password client successfully")
	if r := runOne(t, v.spec, v.host(nil)); r.Class != "hung" || strings.Contains(r.Hint, "0.10.1") {
		t.Errorf("got %+v", r)
	}
}

// What was wrong before the trial, which touched neither the file nor OpNix.
func TestOnePasswordFilesFlawedBefore(t *testing.T) {
	for name, spoil := range map[string]func(*testing.T, *vault){
		"mode":    func(t *testing.T, v *vault) { must(t, os.Chmod(v.secret().Path, 0o644)) },
		"empty":   func(_ *testing.T, v *vault) { v.write("own/secret", "") },
		"token":   func(t *testing.T, v *vault) { must(t, os.Chmod(filepath.Join(v.dir, "token"), 0o644)) },
		"missing": func(t *testing.T, v *vault) { must(t, os.RemoveAll(filepath.Dir(v.secret().Path))) },
	} {
		t.Run(name, func(t *testing.T) {
			v := newVault(t)
			must(t, os.Mkdir(filepath.Join(v.dir, "own"), 0o700))
			v.secret().Path = filepath.Join(v.dir, "own/secret")
			v.write("own/secret", secretBytes)
			v.fragment("text")
			spoil(t, v)
			// The kernel stamps files with the clock of its last tick.
			b := v.before()
			b.Monotonic = monotonic() + 50_000
			time.Sleep(60 * time.Millisecond)
			r := runOne(t, v.spec, v.host(b))
			r.want(t, Unknown, ClassFailedBefore, "")
			v.fragment("another text")
			runOne(t, v.spec, v.host(b)).want(t, Fail, map[string]string{"mode": "mode", "empty": "empty-file", "token": "mode", "missing": "missing-file"}[name], "")
		})
	}
}

func TestOnePasswordFileSpoiltByTheTrial(t *testing.T) {
	v := newVault(t)
	v.fragment("text")
	b := v.before()
	time.Sleep(20 * time.Millisecond)
	must(t, os.Chmod(v.secret().Path, 0o644))
	runOne(t, v.spec, v.host(b)).want(t, Fail, "mode", "0644")
}

func TestOnePasswordToken(t *testing.T) {
	v := newVault(t)
	v.write("token", " \n")
	runOne(t, v.spec, v.host(nil)).want(t, Fail, "empty-token", "")
	v.write("token", "ops_x\n")
	runOne(t, v.spec, v.host(nil)).want(t, Pass, "", "")
	if os.Geteuid() == 0 {
		must(t, os.Chown(filepath.Join(v.dir, "token"), 65533, 0))
	} else {
		ask[OnePasswordSpec](v.spec).TokenFile = "/etc/passwd"
	}
	r := runOne(t, v.spec, v.host(nil))
	if all := r.Seen + strings.Join(r.Notes, " "); r.Verdict != Fail || !strings.Contains(all, "it belongs to user id") {
		t.Errorf("got %+v", r)
	}
}

func TestOnePasswordSymlinks(t *testing.T) {
	v := newVault(t)
	link := filepath.Join(v.dir, "link")
	v.secret().Symlinks = []string{link}
	runOne(t, v.spec, v.host(nil)).want(t, Fail, "symlink", "")
	must(t, os.Symlink(filepath.Join(v.dir, "token"), link))
	runOne(t, v.spec, v.host(nil)).want(t, Fail, "symlink", "")
	must(t, os.Remove(link))
	must(t, os.Symlink(v.secret().Path, link))
	runOne(t, v.spec, v.host(nil)).want(t, Pass, "", "")
}

func TestOnePasswordLoginKeys(t *testing.T) {
	v := newVault(t)
	must(t, os.Mkdir(filepath.Join(v.dir, ".ssh"), 0o700))
	v.secret().Path = filepath.Join(v.dir, ".ssh/authorized_keys")
	for content, class := range map[string]string{
		"ssh-ed25519 AAAA somebody\n": "", "# none\n\n": "no-login-key", "": "empty-file",
	} {
		v.write(".ssh/authorized_keys", content)
		r := runOne(t, v.spec, v.host(nil))
		if r.Class != class {
			t.Errorf("%q: %+v", content, r)
		}
		if class != "" && !strings.Contains(r.Hint, "keep a session open") {
			t.Errorf("%q: hint %q", content, r.Hint)
		}
	}
}

func TestOnePasswordConsumers(t *testing.T) {
	for _, c := range []struct {
		name    string
		changes []string
		class   string
		seen    string
	}{
		{"requires it", []string{"Wants=", "Requires=" + opnixUnit}, "", ""},
		{"does not want it", []string{"Wants=", "Requires=basic.target"}, "ordering", "neither wants nor requires"},
		{"waits for the name that does not exist", []string{"After=onepassword-secrets.service", "Wants=onepassword-secrets.service"}, "ordering", "names onepassword-secrets.service"},
		{"has nothing to run", []string{"LoadState=bad-setting"}, "ordering", "bad-setting"},
	} {
		v := newVault(t)
		v.change(agentUnit, c.changes...)
		r := runOne(t, v.spec, v.host(nil))
		if r.Class != c.class || !strings.Contains(r.Seen, c.seen) {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
	v := newVault(t)
	ask[OnePasswordSpec](v.spec).Services = []string{"further"}
	runOne(t, v.spec, v.host(nil)).want(t, Fail, "ordering", "further.service is not-found")
}

func TestOnePasswordTellsOfTheNameThatDoesNotExist(t *testing.T) {
	v := newVault(t)
	v.secret().Services = nil
	v.change(agentUnit, "After=onepassword-secrets.service")
	r := runOne(t, v.spec, v.host(nil))
	r.want(t, Pass, "", "")
	r.wantNotes(t, "hercules-ci-agent.service names onepassword-secrets.service, which does not exist; OpNix's unit is opnix-secrets.service")
	if !strings.Contains(r.Hint, `systemd.services.opnix-secrets.aliases = [ "onepassword-secrets.service" ]`) {
		t.Errorf("hint %q", r.Hint)
	}
	must(t, os.Remove(filepath.Join(v.dir, "units", opnixUnit)))
	r = runOne(t, v.spec, v.host(nil))
	r.want(t, Fail, "no-unit", "")
	r.wantNotes(t, "hercules-ci-agent.service names onepassword-secrets.service")
}

func TestOnePasswordNotes(t *testing.T) {
	v := newVault(t)
	o := ask[OnePasswordSpec](v.spec)
	v.lines(v.invocation, time.Minute, "2026/01/01 00:00:00 Successfully processed 3 secrets to /var/lib/opnix/secrets", "WARNING: Some service actions failed: [x: op://Vault/Some Item/field]")
	v.unit("Id=opnix-secrets-watcher.path\nLoadState=loaded\nActiveState=inactive\nSubState=dead")
	v.change(opnixUnit, "ExecMainStartTimestampMonotonic="+number(monotonic()))
	must(t, os.Chtimes(v.secret().Path, time.Time{}, time.Now().Add(-time.Hour)))
	o.Version = "0.7.0"
	r := runOne(t, v.spec, v.host(nil))
	r.want(t, Pass, "", "")
	r.wantNotes(t, "processed 3 secrets, 1 are declared", "opnix-secrets-watcher.path is inactive", "OpNix 0.7.0 waits", "Some service actions failed", "not written by the unit's last run, though it ended well: joinToken")
	if strings.Contains(strings.Join(r.Notes, " "), "Some Item") {
		t.Errorf("a reference got out: %q", r.Notes)
	}
	o.ConfigFiles, o.Version = 2, "0.11.0"
	r = runOne(t, v.spec, v.host(nil))
	r.wantNotes(t, "2 of services.onepassword-secrets.configFiles")
	if text := strings.Join(r.Notes, " "); strings.Contains(text, "are declared") || strings.Contains(text, "waits for the restart") {
		t.Errorf("notes %q", r.Notes)
	}
}

func TestOpnixOlder(t *testing.T) {
	const eight, ten = "[Service]\nRestart=on-failure\nRestartSec=30\n", "[Service]\nRestart=on-failure\nRestartPreventExitStatus=65 75\n"
	for _, c := range []struct{ version, text, want string }{
		{"0.7.0", "", "0.7.0"}, {"0.10.0", ten, "0.10.0"}, {"0.10.1", eight, ""}, {"0.11.0", eight, ""}, {"1.0", "", ""}, {"0.9", "", "0.9"},
		{"", eight, "before 0.10"}, {"", ten, ""}, {"", "", ""}, {"x.y", eight, ""}, {"-1.0.0", "", ""},
	} {
		if got := opnixOlder(c.version, c.text); got != c.want {
			t.Errorf("%q, %q: got %q, want %q", c.version, c.text, got, c.want)
		}
	}
}

func TestRedact(t *testing.T) {
	for line, want := range map[string]string{
		"  Issue: Failed to resolve reference: op://My Vault/An Item/field": "  Issue: Failed to resolve reference: op://…",
		"  - missing_reference for op://V/An Item/sec tion/f: itemNotFound": "  - missing_reference for op://…: itemNotFound",
		`Check that '` + `op://V/I/f` + `' exists`:                          "Check that 'op://…' exists",
		"two op://a/b/c\nand op://d/e/f: gone":                              "two op://…\nand op://…: gone",
		"OP://V/I/f":                                                        "op://…",
		"nothing to hide":                                                   "nothing to hide",
	} {
		if got := redact(line); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("a op://Vault/MARK/field: b", "MARK")
	f.Add("'op://x'", "x")
	f.Fuzz(func(t *testing.T, before, item string) {
		if strings.ContainsAny(item, "\"'\n:") || item == "" {
			return
		}
		got := redact("see op://" + item)
		if got != "see op://…" {
			t.Errorf("%q: %q", item, got)
		}
		classify([]string{before, item})
		opnixOlder(before, item)
	})
}
