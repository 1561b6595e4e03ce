package reach

import (
	"fmt"
	"strings"
)

// Verdict is what a host makes of a proof.
type Verdict struct {
	// Back says that the previous system is to run again.
	Back bool
	// Reason says why, for a person. It always names what saw traffic come in, or
	// holds the words "inbound not proven".
	Reason string
}

// Decide says what becomes of a system of which p is all that the host could find out. What
// failed is a reason to go back whatever else was seen; what saw traffic come in outweighs
// what only changed or is unknown. For the rest o decides. A proof without a finding is one
// that nobody took, and by default no reason to stay.
func Decide(p Proof, o OnUnknown) Verdict {
	inbound := p.Inbound.inWords()
	failed, changed := p.tell(Failed), p.tell(Changed)
	switch {
	case failed != "":
		return Verdict{true, fmt.Sprintf("the new system cannot be reached as before: %s; %s", failed, inbound)}
	case p.Inbound != NotProven:
		return Verdict{false, inbound + p.besides()}
	case o == Commit:
		return Verdict{false, fmt.Sprintf("%s, and on_unknown is %q%s", inbound, o, p.besides())}
	case o == GoBack:
		return Verdict{true, fmt.Sprintf("%s, and on_unknown is %q%s", inbound, o, p.besides())}
	case changed != "":
		return Verdict{true, fmt.Sprintf("%s, and what decides over it has changed: %s", inbound, changed)}
	case len(p.Findings) == 0:
		return Verdict{true, inbound + ", and nothing could be looked at"}
	}
	return Verdict{false, fmt.Sprintf("%s, and nothing that decides over it was seen to change%s", inbound, p.besides())}
}

func (i Inbound) inWords() string {
	switch i {
	case NotProven:
		return "inbound not proven"
	case ByWitness:
		return "inbound proven by the witness, which dialled in"
	case ByConnection:
		return "inbound proven by a connection that came in from outside"
	}
	return fmt.Sprintf("inbound proven by %q", string(i))
}

// besides lists by their names the findings beside the one that decided.
func (p Proof) besides() string {
	var said strings.Builder
	for _, state := range []State{Proven, Changed, Unknown} {
		var names []string
		for _, f := range p.Findings {
			if f.State == state && f.Name != FromAway {
				names = append(names, f.Name)
			}
		}
		if len(names) > 0 {
			fmt.Fprintf(&said, "; %s: %s", state, strings.Join(names, ", "))
		}
	}
	return said.String()
}

// tell lists the findings of one state with what was seen, empty where there is none.
func (p Proof) tell(state State) string {
	var said []string
	for _, f := range p.Findings {
		switch {
		case f.State != state:
		case f.Detail == "":
			said = append(said, f.Name)
		default:
			said = append(said, fmt.Sprintf("%s (%s)", f.Name, f.Detail))
		}
	}
	return strings.Join(said, ", ")
}
