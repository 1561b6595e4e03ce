package remote

import (
	"context"
	"errors"
	"sync"
	"time"
)

// budget is the time that a dial may take. It stands still while a person is asked
// something: nobody types a passphrase within a connect timeout.
type budget struct {
	mu    sync.Mutex
	left  time.Duration
	began time.Time
	timer *time.Timer
	end   context.CancelCauseFunc
	asked bool
}

// errBudget is the cause of a context whose budget is used up.
var errBudget = errors.New("out of time")

// questionLimit is how long somebody may take to answer, or to touch a key: sshd's
// own LoginGraceTime is two minutes.
const questionLimit = 2 * time.Minute

// withBudget returns a context that ends when the time is used up. The caller calls
// the function to release it.
func withBudget(parent context.Context, limit time.Duration) (context.Context, *budget, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	b := &budget{left: limit, end: cancel}
	b.run()
	return ctx, b, func() {
		b.stop()
		cancel(nil)
	}
}

func (b *budget) run() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.began = time.Now()
	b.timer = time.AfterFunc(b.left, func() { b.end(errBudget) })
}

func (b *budget) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.timer.Stop()
	b.left -= time.Since(b.began)
}

// aside lets somebody answer a question while the time stands still. Questions of
// one dial follow one another.
func (b *budget) aside(question func()) {
	b.stop()
	b.asked = true
	defer b.run()
	question()
}

// spent reports whether ctx ended because its budget, or another deadline, did.
func spent(ctx context.Context) bool {
	cause := context.Cause(ctx)
	return errors.Is(cause, errBudget) || errors.Is(cause, context.DeadlineExceeded)
}
