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
	// askLimit is how long each way to ask for a reboot may take, shutdownLimit how
	// long the reboot may then take, and syncLimit how long the disks may.
	askLimit      = 20 * time.Second
	shutdownLimit = 3 * time.Minute
	syncLimit     = 10 * time.Second
)

// Reboot restarts the host: in good order where PID 1 answers, and otherwise by
// the kernel. It returns only where neither worked.
func Reboot(ctx context.Context, r transaction.Record) error {
	refused := askReboot(ctx, systemd.Of(r.Previous.Running))
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

// askReboot returns when a reboot in good order has been accepted. PID 1 itself is
// asked where logind, which would first tell those who are logged in, does not
// answer.
func askReboot(ctx context.Context, m systemd.Manager) error {
	var refused error
	for _, args := range [][]string{
		{"reboot", "--no-block", "--no-wall", "--check-inhibitors=no"},
		{"start", "--no-block", "--job-mode=replace-irreversibly", "reboot.target"},
	} {
		asking, cancel := context.WithTimeout(ctx, askLimit)
		_, refused = m.Output(asking, "systemctl", args...)
		cancel()
		if refused == nil {
			return nil
		}
	}
	return fmt.Errorf("reboot: %v", refused)
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
