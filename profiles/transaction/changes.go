package transaction

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// recheck is how long a wait sleeps at most before it looks again: at the clock,
// which goes on during a suspend when sleeping does not, and at the record, should
// a notification have been lost.
const recheck = 250 * time.Millisecond

// changes tells when the records of a store are replaced. It only saves time:
// whoever waits looks again every [recheck] in any case.
type changes struct{ events *os.File }

// watchChanges watches the store's directories. Where the kernel has no more
// watches to give, waits only recheck.
func (s Store) watchChanges() changes {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return changes{}
	}
	for _, dir := range []string{s.Dir, s.Run} {
		_, _ = unix.InotifyAddWatch(fd, dir, unix.IN_MOVED_TO)
	}
	return changes{events: os.NewFile(uintptr(fd), "inotify")}
}

// wait returns after a change, after d, or when ctx ends, whatever is first.
func (c changes) wait(ctx context.Context, d time.Duration) {
	d = min(max(d, time.Millisecond), recheck)
	if c.events == nil {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
		return
	}
	// A deadline in the past ends the read that is under way.
	past := time.Unix(1, 0)
	wake := func() { _ = c.events.SetReadDeadline(past) }
	_ = c.events.SetReadDeadline(time.Time{})
	timer := time.AfterFunc(d, wake)
	defer timer.Stop()
	defer context.AfterFunc(ctx, wake)()
	var events [4096]byte
	_, _ = c.events.Read(events[:])
}

func (c changes) close() {
	if c.events != nil {
		c.events.Close()
	}
}
