package deploy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/hosts/remote"
)

// withPassword is a host that has its password from there.
func withPassword(name string, from hosts.Password) hosts.Host {
	h := hosts.NewHost(name)
	h.User, h.Elevation, h.Password = "deploy", []string{"sudo", "-n", "--"}, from
	return h
}

// counting answers a question with a password, and counts the questions.
func counting(answer string) (Ask, *atomic.Int64) {
	asked := &atomic.Int64{}
	return func(_ context.Context, question string) (string, error) {
		asked.Add(1)
		if !strings.HasPrefix(question, "Password to become root on web") {
			return "", fmt.Errorf("asked %q", question)
		}
		return answer, nil
	}, asked
}

func TestHostsThatShareAPasswordAskForItOnce(t *testing.T) {
	ask, asked := counting("right")
	all := newPasswords(ask)
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			h := withPassword(fmt.Sprintf("web%d", i), hosts.Password{Ask: true})
			for range 3 {
				if err := all.of(h).give(t.Context(), h.Name, true, accept("right")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if asked.Load() != 1 {
		t.Errorf("asked %d times", asked.Load())
	}
	if other := all.of(withPassword("web1", hosts.Password{File: "/etc/other"})); other == all.of(withPassword("web2", hosts.Password{Ask: true})) {
		t.Error("hosts with other sources share a password")
	}
	if all.of(withPassword("web1", hosts.Password{})) != nil {
		t.Error("a host without a source has a password")
	}
}

func accept(right string) func(string) error {
	return func(password string) error {
		if password != right {
			return remote.ErrPassword
		}
		return nil
	}
}

func TestAWrongPasswordIsTriedOnOneHost(t *testing.T) {
	ask, asked := counting("wrong")
	all := newPasswords(ask)
	var tried atomic.Int64
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			h := withPassword(fmt.Sprintf("web%d", i), hosts.Password{Ask: true})
			err := all.of(h).give(t.Context(), h.Name, true, func(string) error {
				tried.Add(1)
				return remote.ErrPassword
			})
			if err == nil || !strings.Contains(err.Error(), "was not accepted by web") || strings.Contains(err.Error(), "wrong") {
				t.Errorf("got %v", err)
			}
		})
	}
	group.Wait()
	if tried.Load() != 1 || asked.Load() != 1 {
		t.Errorf("tried %d times, asked %d times", tried.Load(), asked.Load())
	}
}

func TestAHostThatStopsAcceptingIsAskedAgainOnlyWhenItRunsAnotherSystem(t *testing.T) {
	ask, _ := counting("right")
	p := newPasswords(ask).of(withPassword("web1", hosts.Password{Ask: true}))
	tried := 0
	refuse := func(string) error { tried++; return remote.ErrPassword }
	if err := p.give(t.Context(), "web1", true, accept("right")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := p.give(t.Context(), "web1", false, refuse); err == nil {
			t.Error("accepted")
		}
	}
	if tried != 1 {
		t.Errorf("tried %d times", tried)
	}
	if err := p.give(t.Context(), "web2", false, accept("right")); err != nil {
		t.Errorf("another host: %v", err)
	}
	p.forgive("web1")
	if err := p.give(t.Context(), "web1", false, accept("right")); err != nil {
		t.Errorf("the system before: %v", err)
	}
}

func TestNobodyIsAskedInTheMiddleOfAChange(t *testing.T) {
	ask, asked := counting("right")
	p := newPasswords(ask).of(withPassword("web1", hosts.Password{Ask: true}))
	if err := p.give(t.Context(), "web1", false, accept("right")); err == nil || asked.Load() != 0 {
		t.Errorf("asked %d times, %v", asked.Load(), err)
	}
	if err := p.give(t.Context(), "web1", true, accept("right")); err != nil {
		t.Error(err)
	}
	if err := p.give(t.Context(), "web1", false, accept("right")); err != nil {
		t.Errorf("an answer that was given before: %v", err)
	}
}

func TestAnInterruptedQuestionIsNoAnswer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	asked := 0
	p := newPasswords(func(ctx context.Context, _ string) (string, error) {
		if asked++; asked == 1 {
			cancel()
			return "", ctx.Err()
		}
		return "right", nil
	}).of(withPassword("web1", hosts.Password{Ask: true}))
	if err := p.give(ctx, "web1", true, accept("right")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := p.give(t.Context(), "web1", true, accept("right")); err != nil {
		t.Error(err)
	}
}

func TestPasswordFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct{ path, text, fault string }{
		{file("plain", "pass word\n", 0o600), "pass word", ""},
		{file("bare", "pass", 0o400), "pass", ""},
		{file("dos", "pass\r\n", 0o600), "pass", ""},
		{file("spaces", "  pass  \n", 0o600), "  pass  ", ""},
		{file("group", "pass\n", 0o640), "", "chmod 600"},
		{file("world", "pass\n", 0o604), "", "chmod 600"},
		{file("empty", "\n", 0o600), "", "is empty"},
		{file("lines", "pass\nuser: me\n", 0o600), "pass", ""},
		{file("bytes", "pa\x00ss\n", 0o600), "", "no text"},
		{file("long", strings.Repeat("x", passwordLimit+1), 0o600), "", "more than 512"},
		{dir, "", "no regular file"},
		{filepath.Join(dir, "absent"), "", "no such file"},
		{"/dev/zero", "", "no regular file"},
	} {
		text, err := newPasswords(nil).of(withPassword("web1", hosts.Password{File: c.path})).find(t.Context(), "web1")
		if text != c.text || (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s: %q, %v", c.path, text, err)
		}
		if err != nil && strings.Contains(err.Error(), "word\n") {
			t.Errorf("%s: the error has the password: %v", c.path, err)
		}
	}
}

func TestPasswordCommands(t *testing.T) {
	for _, c := range []struct{ script, text, fault string }{
		{"echo pass word", "pass word", ""},
		{"printf pass", "pass", ""},
		{"echo locked >&2; exit 3", "", "exit status 3: locked"},
		{"echo pass; echo pass >&2; exit 3", "", "exit status 3"},
		{"printf '\\033[31mred\\n' >&2; exit 1", "", "exit status 1: [31mred"},
		{"true", "", "is empty"},
		{"echo pass; echo user: me", "pass", ""},
	} {
		p := newPasswords(nil).of(withPassword("web1", hosts.Password{Command: []string{"/bin/sh", "-c", c.script}}))
		text, err := p.find(t.Context(), "web1")
		if text != c.text || (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s: %q, %v", c.script, text, err)
		}
		if err != nil && strings.Contains(err.Error(), "pass\n") || err != nil && strings.HasSuffix(err.Error(), "pass") {
			t.Errorf("%s: the error has the password: %v", c.script, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	hangs := newPasswords(nil).of(withPassword("web1", hosts.Password{Command: []string{"/bin/sleep", "1000"}}))
	if _, err := hangs.find(ctx, "web1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestNobodyToAsk(t *testing.T) {
	if err := newPasswords(nil).of(withPassword("web1", hosts.Password{Ask: true})).give(t.Context(), "web1", true, accept("")); err == nil ||
		!strings.Contains(err.Error(), "nobody to ask") {
		t.Errorf("got %v", err)
	}
}

func TestTheRemedyFitsTheElevation(t *testing.T) {
	for _, c := range []struct {
		elevation []string
		from      hosts.Password
		words     []string
	}{
		{[]string{"sudo", "-n", "--"}, hosts.Password{}, []string{"NOPASSWD", `elevation_password = "ask"`, `user = "root"`}},
		{[]string{"/run/wrappers/bin/doas", "-n"}, hosts.Password{}, []string{"permit nopass deploy", "elevation_password"}},
		{[]string{"run0", "--no-ask-password", "--"}, hosts.Password{Ask: true}, []string{"polkit", "manage-units", `user = "root"`}},
		{nil, hosts.Password{}, []string{`elevation = "sudo"`}},
	} {
		h := withPassword("web1", c.from)
		h.Elevation = c.elevation
		remedy := newHostRun(&run{}, h).elevationRemedy()
		for _, word := range c.words {
			if !strings.Contains(remedy, word) {
				t.Errorf("%q: the remedy does not say %q: %s", c.elevation, word, remedy)
			}
		}
		if strings.Contains(remedy, "elevation_password") == (c.from.Ask || c.elevation == nil) {
			t.Errorf("%q: %s", c.elevation, remedy)
		}
	}
}

// What a password's program prints beside it may repeat it, as pass does with several lines.
func TestAPasswordsProgramDoesNotTellIt(t *testing.T) {
	for _, said := range []string{"bad secret-of-ann", "no ann@example.org here"} {
		_, err := passwordCommand(t.Context(), []string{"/bin/sh", "-c", `printf "secret-of-ann\nann@example.org\n"; echo "$0" >&2; exit 1`, said})
		if err == nil || strings.Contains(err.Error(), said) {
			t.Errorf("got %v", err)
		}
	}
	_, err := passwordCommand(t.Context(), []string{"/bin/sh", "-c", `echo "the vault is closed" >&2; exit 1`})
	if err == nil || !strings.Contains(err.Error(), "the vault is closed") {
		t.Errorf("got %v", err)
	}
}
