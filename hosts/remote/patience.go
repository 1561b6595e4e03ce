package remote

import (
	"context"
	"errors"
	"time"
)

// The pauses between two tries: sshd punishes addresses that knock too often.
const (
	firstPause = 2 * time.Second
	lastPause  = 10 * time.Second
)

// DialPatiently is [Dial], tried again while the host may be about to answer: when it
// boots, or its sshd starts. The target's ConnectTimeout then is the time for all
// tries. A host that answers and refuses is not asked again. waiting is told of each
// failure that is followed by a pause; it may be nil.
func DialPatiently(ctx context.Context, t Target, waiting func(err error, pause time.Duration)) (*Conn, error) {
	limit := t.withDefaults().ConnectTimeout
	end := time.Now().Add(limit)
	for pause := firstPause; ; pause = min(pause*3/2, lastPause) {
		t.ConnectTimeout = max(time.Until(end), time.Second)
		conn, err := Dial(ctx, t)
		if err == nil || !transient(err) || time.Now().Add(pause).After(end) {
			return conn, err
		}
		if waiting != nil {
			waiting(err, pause)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// transient says that the same may succeed a little later.
func transient(err error) bool {
	var fault *Error
	return errors.As(err, &fault) && fault.Transient
}
