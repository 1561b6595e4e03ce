package atomicfile

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// recheck is how long a wait sleeps at most: whoever waits must look again at
// clocks that go on during a suspend, when sleeping does not, and at the files,
// should a notification have been lost.
const recheck = 250 * time.Millisecond

// Changes tells when files are put in place in some directories. It only saves
// time: a wait ends at least every quarter of a second in any case.
type Changes interface {
	// Wait returns after a change, after d, after a quarter of a second, or when
	// ctx ends, whatever is first.
	Wait(ctx context.Context, d time.Duration)
	// Close ends the watching.
	Close()
}

// Watch watches directories, which must exist. Where the kernel has no more
// watches to give, waits only end by their time.
func Watch(dirs ...string) Changes { return OS.Watch(dirs...) }

// inotify is Changes by the kernel's notifications; events is nil where it has
// none to give.
type inotify struct{ events *os.File }

func watch(dirs []string) Changes {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return inotify{}
	}
	for _, dir := range dirs {
		_, _ = unix.InotifyAddWatch(fd, dir, unix.IN_MOVED_TO|unix.IN_CLOSE_WRITE)
	}
	return inotify{events: os.NewFile(uintptr(fd), "inotify")}
}

func (c inotify) Wait(ctx context.Context, d time.Duration) {
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

func (c inotify) Close() {
	if c.events != nil {
		_ = c.events.Close()
	}
}
