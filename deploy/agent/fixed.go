package agent

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/hbohlen/hdeploy/hosts/remote"
	"github.com/hbohlen/hdeploy/profiles/protocol"
)

// startFixed starts the agent that the host has at a path of its own. The rules for the
// login user may name this command and no other.
func startFixed(ctx context.Context, conn *remote.Conn, path string, first First) (*Agent, error) {
	a, err := launch(ctx, conn, remote.Command{Argv: []string{path, "serve"}, Ready: protocol.Ready}, first)
	var failed *exitError
	if !errors.As(err, &failed) {
		return a, explain(err)
	}
	if failed.code == 127 || absent.MatchString(failed.said) {
		return nil, &Error{Kind: Absent, Cause: fmt.Errorf("the host has no agent at %s", path), Said: lastLine(failed.said)}
	}
	return nil, explain(err)
}

// absent is what sudo, doas and run0 say of a program that is not there.
var absent = regexp.MustCompile(`(?m)^(sudo|sudo-rs): .*(command not found|no such file|unable to execute)|^doas: .*(command not found|No such file)|Failed to .*(execut|find executable).*No such file|executable file not found`)

// notElevated is why the login user could not become root, by the words of sudo,
// sudo-rs, doas and run0, and of a shell without root's rights about root's directory;
// nil where they say nothing of that.
func notElevated(said string) error {
	for _, r := range refusals {
		if r.words.MatchString(said) {
			return errors.New(r.cause)
		}
	}
	return nil
}

// The order matters: what is particular comes first.
var refusals = []struct {
	words *regexp.Regexp
	cause string
}{
	{regexp.MustCompile(`(?i)not in the sudoers file|not allowed to (execute|run)|may not run sudo|a rule that permits|doas: Operation not permitted|not permitted to`), "no rule of the host lets the login user become root with this command"},
	{regexp.MustCompile(`(?im)password is required|authentication (is )?required|terminal is required|Authorization required|a tty is required`), "the login user may not become root without a password"},
	{regexp.MustCompile(`(?i)must have a tty`), "sudo of the host wants a terminal (Defaults requiretty)"},
	{regexp.MustCompile(`(?im)(^|: )(sudo|sudo-rs|doas|run0): (command )?not found|(sudo|doas|run0): No such file|No such file or directory.*(sudo|doas|run0)|unknown command.*(sudo|doas|run0)`), "the host has no such program to become root with"},
	{regexp.MustCompile(`(?m)(^|: )(sudo|sudo-rs|doas|run0):|^Failed to start transient service unit: |^(mkdir|chmod|mktemp):.*(Permission denied|Operation not permitted)`), "the login user may not become root"},
}
