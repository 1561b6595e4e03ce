package deploy

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/hosts/remote"
)

func TestHostIsTriedAgainBeforeTheFirstChange(t *testing.T) {
	down := &remote.Error{Host: "web1", Kind: remote.Unreachable, Cause: errors.New("connection refused"), Transient: true}
	for _, c := range []struct {
		name    string
		answers []error // the last one again and again
		connect time.Duration
		want    string
	}{
		{"answers", []error{nil}, 10 * time.Second, "[0s]"},
		{"starts", []error{down, down, nil}, 10 * time.Second, "[0s 2s 5s]"},
		{"stays away", []error{down}, 10 * time.Second, "[0s 2s 5s 9.5s]"},
		{"stays away for long", []error{down}, time.Minute, "[0s 2s 5s 9.5s 16.25s 26.25s 36.25s 46.25s 56.25s]"},
		{"has no time", []error{down}, time.Second, "[0s]"},
		{"refuses", []error{&remote.Error{Kind: remote.LoginRefused, Cause: errors.New("no")}}, time.Minute, "[0s]"},
		{"has no agent", []error{errors.New("no agent")}, time.Minute, "[0s]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var tried []time.Duration
				notes := 0
				h := newHostRun(&run{Request: Request{Events: func(event.Event) { notes++ }}}, hosts.NewHost("web1"))
				h.Timeouts.Connect = c.connect
				began := time.Now()
				h.patiently(t.Context(), func() error {
					tried = append(tried, time.Since(began))
					return c.answers[min(len(tried), len(c.answers))-1]
				})
				if got := fmt.Sprint(tried); got != c.want || notes != len(tried)-1 {
					t.Errorf("tried at %s with %d notes, want %s", got, notes, c.want)
				}
			})
		})
	}
}

func TestInterruptEndsTheWaitingForAHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		h := newHostRun(&run{}, hosts.NewHost("web1"))
		tries := 0
		h.patiently(ctx, func() error {
			tries++
			cancel()
			return &remote.Error{Kind: remote.Unreachable, Cause: errors.New("connection refused"), Transient: true}
		})
		if tries != 1 {
			t.Errorf("tried %d times", tries)
		}
	})
}
