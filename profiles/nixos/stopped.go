package nixos

import (
	"context"
	"fmt"

	"github.com/hbohlen/hdeploy/profiles/systemd"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// takeover is the role of the unit that goes on where a person has stopped the
// others. It is none of those, since all of them may just be being stopped.
const takeover = "takeover"

// stopPost tells the agent that a unit of its own has ended before the transaction
// was over. A unit that is stopped has not failed, so that OnFailure= does not see
// it.
func (h Host) stopPost(id string) string {
	return fmt.Sprintf(`/bin/sh -c "test ! -e %s || exec %s stopped %s"`, h.open(id), h.agent(id), id)
}

// Stopped sends the host back at once, by a unit of its own, where somebody has
// stopped what drove transaction r before its end. While the host shuts down PID 1
// refuses the unit: the boot decides then.
func (h Host) Stopped(ctx context.Context, r transaction.Record) error {
	return systemd.Of(r.Previous.Running).Run(ctx, systemd.Transient{
		Name:         service(r.ID, takeover),
		Description:  "hdeploy: go back, since the units of transaction " + r.ID + " were stopped",
		Command:      []string{h.agent(r.ID), "deadman", r.ID},
		OnFailure:    service(r.ID, "lastresort"),
		Asynchronous: true,
	})
}
