package deploy

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hbohlen/hdeploy/deploy/agent"
	"github.com/hbohlen/hdeploy/deploy/nix"
	"github.com/hbohlen/hdeploy/hosts/remote"
	"github.com/hbohlen/hdeploy/profiles/protocol"
)

// connectionFailure names what kept the preflight from talking to the host.
// Nothing was changed.
func (h *hostRun) connectionFailure(step string, err error) *Failure {
	f := &Failure{Host: h.Name, Step: step, Cause: err, Word: Refused, Code: CodeRefused}
	var link *remote.Error
	var program *agent.Error
	var said *protocol.Error
	switch {
	case errors.As(err, &link):
		h.explainLink(f, link)
	case errors.As(err, &program):
		f.Step = "start the agent"
		f.Next = h.explainAgent(program)
	case errors.As(err, &said):
		f.Step, f.Next = "look", h.ssh("journalctl -u 'hdeploy-*'")
	case errors.Is(err, agent.ErrNotBundled):
		f.Word, f.Code, f.Next = Failed, CodeInternal, "scripts/build"
	case errors.Is(err, context.DeadlineExceeded):
		f.Word, f.Code, f.Next = Unreachable, CodeUnreachable, h.ssh("")
		f.Cause = errors.New("the host did not answer in time")
	default:
		return asFailure(h.Name, step, err)
	}
	return f
}

func (h *hostRun) explainLink(f *Failure, link *remote.Error) {
	f.Cause, f.Next = link.Cause, link.Hint // the host stands in the failure already
	switch link.Kind {
	case remote.Unreachable, remote.Lost:
		f.Word, f.Code = Unreachable, CodeUnreachable
	case remote.Canceled:
		f.Word, f.Code = Interrupted, CodeInterrupted
	case remote.HostKeyUnknown, remote.HostKeyChanged, remote.KnownHostsUnreadable:
		f.Step = "host key"
	case remote.LoginRefused, remote.NoKeys, remote.KeyUnreadable:
		f.Step = "login"
	case remote.NoElevation:
		f.Step = "elevate"
		if f.Next == "" {
			f.Next = h.ssh("id") + "  # and see elevation_password of " + h.Name + " in deploy.toml"
		}
	case remote.ForwardingOff, remote.CommandRefused, remote.SFTPOff: // the step that needed it says more
	}
}

func (h *hostRun) explainAgent(e *agent.Error) string {
	switch e.Kind {
	case agent.Elevation:
		return h.elevationRemedy()
	case agent.Absent:
		return "set services.hdeploy.enable = true in the configuration of " + h.Name + ", and deploy it once without agent in deploy.toml"
	case agent.Platform:
		return h.ssh("uname -sm")
	case agent.Upload:
		return h.ssh("df -h / /var/lib")
	case agent.NotExecutable:
		if h.Agent != "" {
			return h.ssh("ls -lL " + h.Agent)
		}
		return h.ssh("findmnt -T /var/lib/hdeploy") + "  # it must not be mounted noexec"
	case agent.Versions:
		if h.Agent != "" {
			return "update the input hdeploy of the flake of " + h.Name + " or this hdeploy, whichever is older; or leave out agent for " + h.Name +
				" in deploy.toml once, for a login that may run any command as root"
		}
		return "use an hdeploy of the same protocol as the agent on " + h.Name
	case agent.Disobeyed:
		return "let " + h.User + " run commands on the host: see ForceCommand of its sshd, command= in the authorized_keys of " + h.User +
			", and the login shell (users.users." + h.User + ".shell), whose startup files must not run something else\n" + h.ssh("")
	case agent.Silent:
	}
	if h.Agent != "" {
		return h.ssh("ls -lL " + h.Agent)
	}
	return h.ssh("ls -l /var/lib/hdeploy/agent")
}

// evaluationFailure names what is wrong with the flake for a host.
func (r *run) evaluationFailure(host string, err error) *Failure {
	f := &Failure{Host: host, Step: "evaluate", Cause: err, Word: Failed, Code: CodeBuild,
		Next: fmt.Sprintf("nix eval --raw %s#%s", r.Flake, r.attributeOf(host))}
	var unknown *nix.UnknownAttributeError
	if errors.As(err, &unknown) {
		f.Next = "nix flake show " + r.Flake
	}
	quoteNix(f)
	return f
}

// nixCause is Nix's reason without the step, which the failure names already.
type nixCause struct{ failed *nix.Error }

func (c nixCause) Error() string { return c.failed.Cause }

// Unwrap returns the whole failure of the call.
func (c nixCause) Unwrap() error { return c.failed }

// quoteNix puts Nix's own words, in full, beside the cause.
func quoteNix(f *Failure) {
	var said *nix.Error
	if !errors.As(f.Cause, &said) {
		return
	}
	f.Log = append(lines(said.Output), said.Log...)
	if said.Cause != "" {
		f.Cause = nixCause{said}
	}
	if said.Hint != "" {
		f.Next = said.Hint
	}
}

func (r *run) buildFailure(host string, err error) *Failure {
	f := &Failure{Host: host, Step: "build", Cause: err, Word: Failed, Code: CodeBuild,
		Next: fmt.Sprintf("nix build --print-build-logs %s#%s", r.Flake, r.attributeOf(host))}
	quoteNix(f)
	return f
}

func (r *run) attributeOf(host string) string {
	for _, h := range r.Hosts {
		if h.Name == host {
			return h.Attribute
		}
	}
	return ""
}

func lines(text string) []string {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}
