package reach

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/profiles/probe"
)

func finding(name string, state State, format string, args ...any) Finding {
	return Finding{Name: name, State: state, Detail: probe.Clean(fmt.Sprintf(format, args...))}
}

// worst are the states from the worst on.
var worst = []State{Failed, Changed, Unknown, Proven}

// all is one finding for several: the worst state, and what was said of that state.
func all(name string, list []Finding) Finding {
	for _, state := range worst {
		var said []string
		for _, f := range list {
			if f.State == state && !slices.Contains(said, f.Detail) {
				said = append(said, f.Detail)
			}
		}
		if len(said) > 0 {
			return finding(name, state, "%s", strings.Join(said, "; "))
		}
	}
	return finding(name, Unknown, "nothing was asked")
}

// pause is how long a look that did not prove anything waits for the next try.
const pause = time.Second

// knocks is how often sshd is knocked at in one proof, at most, and knockPause the time
// between: it shuts out addresses that do it more often.
const (
	knocks     = 2
	knockPause = 3 * time.Second
)

// settled repeats a look until it proves what it is for or its time is over: what a
// switch has begun need not be over, such as the lease of an address.
func settled(ctx context.Context, name string, look func(context.Context) Finding) Finding {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	wait, tries := pause, int(lookLimit/pause)
	if name == Handshake {
		wait, tries = knockPause, knocks
	}
	last := look(ctx)
	for n := 1; n < tries && last.State != Proven && last.State != Unknown; n++ {
		select {
		case <-ctx.Done():
			return last
		case <-time.After(wait):
		}
		next := look(ctx)
		if ctx.Err() != nil { // it may have been cut short
			return last
		}
		last = next
	}
	return last
}

// unlessCut makes could-not-tell of a failure that may be the end of the time alone.
func unlessCut(ctx context.Context, f Finding) Finding {
	if ctx.Err() != nil {
		f.State = Unknown
	}
	return f
}
