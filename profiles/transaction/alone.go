package transaction

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"

	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/reach"
)

// Alone is how a host decides by itself: whoever began the transaction runs on it, may
// be ended by it, and could prove nothing by a connection.
//
// It is for a system. A profile of another kind moves nothing that a login needs: it is
// judged by its probes and then commits by itself, with nothing to prove. Profiles that
// stand or fall together are confirmed together, by somebody who sees all of them; none of
// them may decide alone, and who begins them must not ask for that.
type Alone struct {
	Question reach.Question `json:"question"`
	// OnUnknown is what becomes of a system that nothing failed on, and that was not
	// proven to let traffic in.
	OnUnknown reach.OnUnknown `json:"on_unknown,omitempty"`
	// RestartLast are units that the activation leaves alone, and that are restarted,
	// where they changed, after everything else was judged; the probes that judge
	// them come then.
	RestartLast []string `json:"restart_last,omitempty"`
}

// Prover is what a transaction of a host that decides alone does to a machine.
type Prover interface {
	// Survey reads before the trial what [Prover.Prove] compares with, and keeps it for
	// this boot.
	Survey(ctx context.Context, r Record) error
	// Prove says what the host can prove about r.New, which runs. It waits for a witness
	// until ctx ends.
	Prove(ctx context.Context, r Record) reach.Proof
	// RestartLast restarts those of r.Alone.RestartLast whose unit is another in the running
	// system than what runs, and names them. It may be called for the previous system.
	RestartLast(ctx context.Context, r Record) ([]string, error)
}

// What is asked of a host is capped: each of it is a program or a connection as root.
const (
	mostUsers   = 64
	mostOutward = 32
	mostLast    = 32
	longestURL  = 300
)

var (
	accountForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,254}\$?$`)
	nameForm    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}$`)
)

// Validate says what of a deployer's wish a host must not act on.
func (a *Alone) Validate() error {
	q := a.Question
	switch {
	case len(q.Users) > mostUsers:
		return fmt.Errorf("more than %d users", mostUsers)
	case len(q.Outward) > mostOutward:
		return fmt.Errorf("more than %d addresses outward", mostOutward)
	case len(a.RestartLast) > mostLast:
		return fmt.Errorf("more than %d units to restart last", mostLast)
	case !a.OnUnknown.Valid():
		return fmt.Errorf("not a choice for what is unknown: %q", a.OnUnknown)
	case q.Witness != "" && !nameForm.MatchString(q.Witness):
		return fmt.Errorf("not the name of a witness: %q", q.Witness)
	}
	for _, user := range q.Users {
		if !accountForm.MatchString(user) {
			return fmt.Errorf("not the name of an account: %q", user)
		}
	}
	for _, to := range q.Outward {
		if err := validOutward(to); err != nil {
			return err
		}
	}
	for _, unit := range a.RestartLast {
		if err := probe.ValidUnit(unit); err != nil {
			return err
		}
	}
	return nil
}

// validOutward accepts "https://NAME[:PORT]", where a slash may follow.
func validOutward(text string) error {
	u, err := url.Parse(text)
	if err != nil || len(text) > longestURL || u.Scheme != "https" || u.User != nil || u.Opaque != "" || u.RawQuery != "" || u.ForceQuery ||
		u.Fragment != "" || u.Path != "" && u.Path != "/" || !nameForm.MatchString(u.Hostname()) {
		return fmt.Errorf("not an address outward, https://NAME[:PORT]: %q", text)
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return fmt.Errorf("not a port: %q", text)
		}
	}
	return nil
}

// aloneRefused says why a plan cannot be left to the host alone.
func (e Engine) aloneRefused(p Plan) error {
	switch {
	case p.Alone == nil:
		return nil
	case p.Keep:
		return errors.New("a host that decides alone goes back where the system fails: nobody could be shown to reach one that is left running")
	case p.Action == Reboot:
		return errors.New("a host that decides alone cannot boot a system once: what it proves is compared with before, in one boot")
	case p.Program != nil && len(p.Alone.RestartLast) > 0:
		return fmt.Errorf("a profile of kind %s restarts no unit of the system", p.Program.Kind)
	case e.Prover == nil && p.Program == nil && p.Action.Activates():
		return errors.New("this host cannot prove anything about itself")
	}
	return p.Alone.Validate()
}

// decidesAlone says that no deployer is waited for.
func (r *Record) decidesAlone() bool { return r.Alone != nil }

// proves says that the trial changed something that the host must be reachable under.
func (r *Record) proves() bool {
	return r.decidesAlone() && r.Program == nil && r.Action.Activates()
}

// restartsLast names the units that are restarted after everything else was judged.
func (r *Record) restartsLast() []string {
	if !r.proves() {
		return nil
	}
	return slices.Clone(r.Alone.RestartLast)
}
