package main

import (
	"context"
	"os"
	"time"

	"github.com/hbohlen/hdeploy/profiles/nixos"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// stopLimit is less than PID 1 gives a unit to stop.
const stopLimit = 4 * time.Second

// stopped is run by PID 1 when a unit that drives transaction id has ended. One
// that failed is followed by the next in line already; see systemd.exec(5) for
// SERVICE_RESULT.
func stopped(ctx context.Context, id string) error {
	store := transaction.HostStore()
	r, err := store.Load()
	if err != nil || r == nil || r.ID != id || r.State.Final() || os.Getenv("SERVICE_RESULT") != "success" {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	return nixos.Host{Store: store, Clock: nixos.Clock{}}.Stopped(ctx, *r)
}
