package nixos

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hbohlen/hdeploy/profiles/systemd"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

const (
	// askLimit is how long PID 1 may take to accept a reboot, shutdownLimit how long
	// it may then take, and syncLimit how long the disks may.
	askLimit      = 20 * time.Second
	shutdownLimit = 3 * time.Minute
	syncLimit     = 10 * time.Second
)

// Reboot restarts the host: in good order where PID 1 answers, and otherwise by
// the kernel. It returns only where neither worked.
func Reboot(ctx context.Context, r transaction.Record) error {
	asked, cancel := context.WithTimeout(ctx, askLimit)
	_, refused := systemd.Of(r.Previous.Running).Output(asked, "systemctl", "--no-block", "reboot")
	cancel()
	if refused == nil {
		// The units of the transaction end with the shutdown, and this with them.
		wait(ctx, shutdownLimit)
	}
	synced := make(chan struct{})
	go func() { unix.Sync(); close(synced) }()
	select {
	case <-synced:
	case <-time.After(syncLimit): // a disk that hangs must not keep the host
	}
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil {
		return fmt.Errorf("restart: %v; PID 1 said: %v", err, refused)
	}
	wait(ctx, syncLimit)
	return fmt.Errorf("restart: the kernel did not; PID 1 said: %v", refused)
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
