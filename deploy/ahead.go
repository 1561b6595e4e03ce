package deploy

import (
	"io"
	"sync/atomic"
	"time"
)

// dialed is a connection that was dialled before it is needed. It can be taken
// once.
type dialed[C io.Closer] struct {
	taken atomic.Bool
	done  chan struct{}
	conn  C
	err   error
	began time.Time
}

// ahead begins to dial.
func ahead[C io.Closer](dial func() (C, error)) *dialed[C] {
	d := &dialed[C]{done: make(chan struct{}), began: time.Now()}
	go func() {
		defer close(d.done)
		d.conn, d.err = dial()
	}()
	return d
}

// take waits for the connection and hands it over; ok is false where there is
// none to take any more. Dialling has a deadline, so that this has one too.
func (d *dialed[C]) take() (conn C, err error, ok bool) {
	if d == nil || d.taken.Swap(true) {
		return conn, nil, false
	}
	<-d.done
	return d.conn, d.err, true
}

// closeUnused ends a connection that nobody took.
func closeUnused[C io.Closer](conn C, err error, ok bool) {
	if ok && err == nil {
		_ = conn.Close()
	}
}
