package nixos

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/hbohlen/hdeploy/profiles/systemd"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// switching is one run of a toplevel's switch-to-configuration.
type switching struct {
	// role names the unit: activation, commit or rollback.
	role     string
	toplevel string
	action   string
	// unchecked skips the pre-switch checks: they must not block the way back.
	unchecked bool
}

// run runs switch-to-configuration in a unit of its own and returns its exit
// code. The unit outlives the caller; when ctx ends, the unit is killed and gone
// before run returns.
//
// Output goes to a file, never to a pipe: whoever reads a pipe can die, and then
// the next line printed would kill the switch in the middle.
func (h Host) run(ctx context.Context, r transaction.Record, s switching) (int, error) {
	var environment []string
	if s.unchecked {
		environment = append(environment, "NIXOS_NO_CHECK=1")
	}
	return h.runProgram(ctx, r, s.role, []string{filepath.Join(s.toplevel, "bin/switch-to-configuration"), s.action}, environment)
}

func (h Host) runProgram(ctx context.Context, r transaction.Record, role string, program, environment []string) (int, error) {
	return systemd.Of(r.Previous.Running).RunToEnd(ctx, systemd.Transient{
		Name:        service(r.ID, role),
		Description: fmt.Sprintf("hdeploy: %s of transaction %s", role, r.ID),
		Command:     program,
		Log:         h.Store.LogFile(r.ID),
		Environment: environment,
		Public:      true,
	}, filepath.Join(h.dir(r.ID), role+".exit"))
}

// Activate implements [transaction.Host].
func (h Host) Activate(ctx context.Context, r transaction.Record) (int, error) {
	exit, err := h.run(ctx, r, switching{role: "activation", toplevel: r.New, action: "test"})
	if err == nil && h.untouched(ctx, r, exit) {
		err = transaction.ErrUntouched
	}
	return exit, err
}
