package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/hbohlen/hdeploy/deploy/agent"
	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/deploy/nix"
	"github.com/hbohlen/hdeploy/hosts/remote"
	"github.com/hbohlen/hdeploy/hosts/remote/remotetest"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

func TestConnectionFailures(t *testing.T) {
	link := func(k remote.Kind) error {
		return &remote.Error{Host: "web1", Kind: k, Cause: io.EOF, Hint: "do this"}
	}
	program := func(k agent.Kind) error { return &agent.Error{Kind: k, Cause: io.EOF} }
	for _, c := range []struct {
		name string
		err  error
		word Word
		code int
		step string
		next string
	}{
		{"unreachable", link(remote.Unreachable), Unreachable, CodeUnreachable, "connect", "do this"},
		{"lost", link(remote.Lost), Unreachable, CodeUnreachable, "connect", "do this"},
		{"cancelled", link(remote.Canceled), Interrupted, CodeInterrupted, "connect", "do this"},
		{"host key unknown", link(remote.HostKeyUnknown), Refused, CodeRefused, "host key", "do this"},
		{"host key changed", link(remote.HostKeyChanged), Refused, CodeRefused, "host key", "do this"},
		{"known_hosts unreadable", link(remote.KnownHostsUnreadable), Refused, CodeRefused, "host key", "do this"},
		{"login refused", link(remote.LoginRefused), Refused, CodeRefused, "login", "do this"},
		{"no keys", link(remote.NoKeys), Refused, CodeRefused, "login", "do this"},
		{"key unreadable", link(remote.KeyUnreadable), Refused, CodeRefused, "login", "do this"},
		{"disobeyed", program(agent.Disobeyed), Refused, CodeRefused, "start the agent", "ForceCommand"},
		{"elevation", program(agent.Elevation), Refused, CodeRefused, "start the agent", `elevation = "sudo"`},
		{"no elevation", link(remote.NoElevation), Refused, CodeRefused, "elevate", "do this"},
		{"no agent", program(agent.Absent), Refused, CodeRefused, "start the agent", "services.hdeploy.enable"},
		{"platform", program(agent.Platform), Refused, CodeRefused, "start the agent", "uname -sm"},
		{"upload", program(agent.Upload), Refused, CodeRefused, "start the agent", "df -h"},
		{"noexec", program(agent.NotExecutable), Refused, CodeRefused, "start the agent", "noexec"},
		{"versions", program(agent.Versions), Refused, CodeRefused, "start the agent", "protocol"},
		{"silent", program(agent.Silent), Refused, CodeRefused, "start the agent", "/var/lib/hdeploy/agent"},
		{"the agent's own", &protocol.Error{Message: "no"}, Refused, CodeRefused, "look", "journalctl"},
		{"not bundled", fmt.Errorf("start: %w", agent.ErrNotBundled), Failed, CodeInternal, "connect", "scripts/build"},
		{"too slow", context.DeadlineExceeded, Unreachable, CodeUnreachable, "connect", "ssh root@web1.example.org"},
		{"anything else", io.EOF, Failed, CodeInternal, "connect", "report"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := web1(t).connectionFailure("connect", c.err)
			if f.Host != "web1" || f.Word != c.word || f.Code != c.code || f.Step != c.step || !strings.Contains(f.Next, c.next) || f.Cause == nil {
				t.Errorf("got %+v", f)
			}
		})
	}
}

func TestEvaluationAndBuildFailures(t *testing.T) {
	h := web1(t)
	said := &nix.Error{Step: "build", Output: "error: builder failed\nlast line\n", Hint: "nix log /nix/store/x.drv"}
	f := h.run.buildFailure("web1", said)
	if f.Step != "build" || f.Word != Failed || f.Code != CodeBuild || f.Next != said.Hint || len(f.Log) != 2 {
		t.Errorf("got %+v", f)
	}
	if f := h.run.buildFailure("web1", io.EOF); !strings.Contains(f.Next, "/home/ann/flake#nixosConfigurations.web1") || f.Log != nil {
		t.Errorf("got %+v", f)
	}
	if f := h.run.evaluationFailure("web1", said); f.Step != "evaluate" || f.Code != CodeBuild || f.Next != said.Hint || len(f.Log) != 2 {
		t.Errorf("got %+v", f)
	}
	if f := h.run.evaluationFailure("web1", &nix.UnknownAttributeError{}); f.Next != "nix flake show /home/ann/flake" {
		t.Errorf("got %+v", f)
	}
	if f := h.run.evaluationFailure("web1", io.EOF); !strings.HasPrefix(f.Next, "nix eval") {
		t.Errorf("got %+v", f)
	}
}

// connected gives the host a real connection.
func connected(t *testing.T, h *hostRun) *remotetest.Server {
	t.Helper()
	key, public := remotetest.NewIdentity(t)
	s := remotetest.Start(t, remotetest.Options{Authorized: []ssh.PublicKey{public}})
	var err error
	h.conn, err = remote.Dial(t.Context(), remote.Target{Host: "web1", Address: s.Address(), Port: s.Port(), User: "root",
		HostKeys: s.HostKeyLines(), IdentityFiles: []string{key}, AgentSocket: "none"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.conn.Close() })
	return s
}

func TestCopyFailures(t *testing.T) {
	h := web1(t)
	server := connected(t, h)
	full := &nix.Error{Step: "copy", Kind: nix.DiskFull, Cause: "no space", Output: "error: writing: No space left on device"}
	f := asFailure("", "", h.copyFailure(full, nil))
	if f.Host != "web1" || f.Step != "copy" || f.Word != Failed || f.Code != CodeCopy || !strings.Contains(f.Next, "nix-collect-garbage") || len(f.Log) != 1 || !errors.Is(f, full) {
		t.Errorf("full disk: %+v", f)
	}
	if f := asFailure("", "", h.copyFailure(&nix.Error{Step: "copy", Output: "a\nb"}, nil)); f.Next != "hdeploy switch web1" || len(f.Log) != 2 {
		t.Errorf("another reason: %+v", f)
	}
	h.User, h.system.OutPath = "deploy", "/nix/store/sys"
	f = asFailure("", "", h.copyFailure(&nix.Error{Step: "copy", Kind: nix.Untrusted, Cause: "lacks a signature", Output: "a\nb"}, nil))
	for _, word := range []string{
		"lacks a signature", `nix.settings.trusted-users = [ "deploy" ];`, "nix key generate-secret --key-name ", "secret-key-files = ",
		"nix store sign --recursive --key-file /etc/nix/signing-key /nix/store/sys\n", `nix.settings.trusted-public-keys = [ "`,
	} {
		if !strings.Contains(f.Error()+f.Next, word) || f.Code != CodeCopy || len(f.Log) != 2 {
			t.Errorf("unsigned: %+v does not say %q", f, word)
		}
	}
	h.Agent = "/run/current-system/sw/bin/hdeploy-agent"
	f = asFailure("", "", h.copyFailure(&nix.Error{Step: "copy", Kind: nix.Disconnected, Cause: "disconnected"}, nil))
	if !strings.Contains(f.Error(), "does not serve deploy: disconnected") || !strings.Contains(f.Next, `nix.settings.allowed-users = [ "deploy" ];`) || f.Code != CodeCopy {
		t.Errorf("not admitted: %+v", f)
	}
	h.User, h.Agent = "root", ""
	// What nix says of a torn connection is only a consequence.
	if f := asFailure("", "", h.copyFailure(&nix.Error{Step: "copy", Kind: nix.Disconnected}, io.ErrUnexpectedEOF)); !strings.Contains(f.Error(), "the connection was lost: unexpected EOF") || f.Log != nil || f.Code != CodeCopy || f.Next != "hdeploy switch web1" {
		t.Errorf("torn relay: %+v", f)
	}
	server.Cut()
	select {
	case <-h.conn.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the connection lives on")
	}
	if f := asFailure("", "", h.copyFailure(full, nil)); !strings.Contains(f.Error(), "the connection was lost") || f.Log != nil {
		t.Errorf("torn connection: %+v", f)
	}
}

func TestTheCommandToLookAtAHost(t *testing.T) {
	h := web1(t)
	if got := h.ssh("systemctl --failed"); !strings.HasPrefix(got, "ssh root@web1.example.org ") || !strings.HasSuffix(got, "systemctl --failed") {
		t.Errorf("got %q", got)
	}
	h.Port, h.User, h.Elevation = 2222, "ann", []string{"sudo", "-n"}
	got := h.ssh("systemctl --failed")
	for _, part := range []string{"-p 2222", "ann@web1.example.org", "sudo -n systemctl --failed"} {
		if !strings.Contains(got, part) {
			t.Errorf("%q lacks %q", got, part)
		}
	}
	if got := h.ssh(""); got != "ssh -p 2222 ann@web1.example.org" {
		t.Errorf("got %q", got)
	}
}

func TestHowAHostEnded(t *testing.T) {
	for _, c := range []struct {
		name   string
		status protocol.Status
		word   Word
		code   int
		failed bool
	}{
		{"committed", protocol.Status{State: transaction.Committed, Boots: "/new"}, Committed, CodeOK, false},
		{"superseded", protocol.Status{State: transaction.Superseded, Reason: "somebody else switched"}, Unknown, CodeLookNow, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := web1(t)
			h.status, h.id = &c.status, "abcd1234"
			err := h.conclude(t.Context(), nil)
			var f *Failure
			if c.failed != errors.As(err, &f) {
				t.Fatalf("got %v", err)
			}
			if c.failed {
				if f.Word != c.word || f.Code != c.code || !strings.Contains(f.Error(), c.status.Reason) || !strings.Contains(f.Next, "hdeploy-abcd1234-") {
					t.Errorf("got %+v", f)
				}
			} else if h.outcome == nil || h.outcome.Outcome != string(c.word) || h.outcome.Code != c.code {
				t.Errorf("outcome %+v", h.outcome)
			}
		})
	}
	h := web1(t)
	h.status = &protocol.Status{State: transaction.Waiting}
	if err := h.conclude(t.Context(), io.EOF); err != io.EOF { //nolint:errorlint // it itself, not wrapped
		t.Errorf("what could not be read was concluded: %v", err)
	}
}

func TestWhatACommittedHostIsToldOf(t *testing.T) {
	h := web1(t)
	var notes []string
	h.run.Events = func(e event.Event) {
		if e.Note != nil {
			notes = append(notes, e.Note.Text)
		}
	}
	h.status, h.rebootNeeded = &protocol.Status{State: transaction.Committed, Boots: "unknown"}, true
	if err := h.conclude(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	all := strings.Join(notes, "\n")
	if !strings.Contains(all, "after a reboot") || !strings.Contains(all, "boot loader is not known") {
		t.Errorf("notes %q", notes)
	}
}

func TestReasonsOfBothSides(t *testing.T) {
	h := web1(t)
	h.status = &protocol.Status{Reason: "nobody confirmed"}
	if got := h.reasons(); got != "nobody confirmed" {
		t.Errorf("got %q", got)
	}
	h.verifyError = errors.New("probe web failed")
	if got := h.reasons(); got != "nobody confirmed; probe web failed" {
		t.Errorf("got %q", got)
	}
	h.status.Reason = "probe web failed"
	if got := h.reasons(); got != "probe web failed" {
		t.Errorf("got %q", got)
	}
}

func TestLines(t *testing.T) {
	if got := lines(" \n"); got != nil {
		t.Errorf("got %q", got)
	}
	if got := lines("a\nb\n"); len(got) != 2 {
		t.Errorf("got %q", got)
	}
}
