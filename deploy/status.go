package deploy

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/hbohlen/hdeploy/deploy/agent"
	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/deploy/nix"
	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// flakeLimit bounds the evaluation beside a status.
const flakeLimit = 5 * time.Minute

// StatusRequest asks how hosts are.
type StatusRequest struct {
	Hosts []hosts.Host
	// Flake is what they are compared with; empty for nothing.
	Flake string
	// Nix are arguments for the evaluation.
	Nix     []string
	Secrets *Secrets
	Log     zerolog.Logger
}

// HostStatus is how a host is. Of one that was not reached only Host and Failure
// are known.
type HostStatus struct {
	Host      string         `json:"host"`
	Reachable bool           `json:"reachable"`
	Failure   *event.Failure `json:"failure,omitempty"`

	// Running, Profile and Boots are systems; Generation is the profile's.
	Running    string `json:"running,omitempty"`
	Profile    string `json:"profile,omitempty"`
	Generation int    `json:"generation,omitempty"`
	Boots      string `json:"boots,omitempty"`
	// BootsError says why Boots is not known.
	BootsError string `json:"boots_error,omitempty"`
	// Flake is the system that the flake has for the host, FlakeError why that is
	// not known; both are empty where it was not asked for.
	Flake      string `json:"flake,omitempty"`
	FlakeError string `json:"flake_error,omitempty"`

	// RebootNeeded says that the running system's kernel is not the booted one.
	RebootNeeded bool     `json:"reboot_needed,omitempty"`
	FailedUnits  []string `json:"failed_units,omitempty"`
	UnitsError   string   `json:"units_error,omitempty"`

	// Transaction is one that is not over.
	Transaction *Transaction `json:"transaction,omitempty"`
	Freeze      *Freeze      `json:"freeze,omitempty"`
	// StateError says why the host's record cannot be read.
	StateError string `json:"state_error,omitempty"`

	// Code is the exit code that this host alone would give.
	Code int `json:"code"`
	// NoNix says that FlakeError is the lack of a usable Nix here.
	NoNix bool `json:"-"`
}

// Status asks all hosts, ten at the same time, and evaluates the flake meanwhile.
// The answers are in the order of the request.
func Status(ctx context.Context, r StatusRequest) []HostStatus {
	var wanted map[string]nix.Evaluated
	var flakeErrors map[string]error
	var evaluating sync.WaitGroup
	if r.Flake != "" {
		evaluating.Go(func() { wanted, flakeErrors = r.evaluate(ctx) })
	}
	all := each(r.Hosts, func(h hosts.Host) HostStatus { return r.look(ctx, h) })
	evaluating.Wait()
	if r.Flake == "" {
		return all
	}
	for i := range all {
		s := &all[i]
		var unknown error
		s.Flake, unknown = flakeSystem(wanted[s.Host])
		if err := cmp.Or(flakeErrors[s.Host], unknown); err != nil {
			var missing *nix.MissingError
			var old *nix.TooOldError
			s.FlakeError, s.NoNix = capped(flakeCause(err)), errors.As(err, &missing) || errors.As(err, &old)
		}
	}
	return all
}

// evaluate returns the systems that the flake has, and for every other host why
// not. Where the hosts do not evaluate together, each is asked for alone: one
// broken configuration must not hide the rest.
func (r StatusRequest) evaluate(ctx context.Context) (map[string]nix.Evaluated, map[string]error) {
	ctx, cancel := context.WithTimeout(ctx, flakeLimit)
	defer cancel()
	failures := map[string]error{}
	program, err := nix.Find(ctx)
	if err != nil {
		for _, h := range r.Hosts {
			failures[h.Name] = err
		}
		return nil, failures
	}
	program.Extra = slices.Concat([]string{"--no-write-lock-file"}, r.Nix) // a question changes nothing here either
	attributes := systemsOf(r.Hosts)
	if len(attributes) == 0 {
		return nil, nil
	}
	return evaluateEach(ctx, program, r.Flake, attributes, nil)
}

// systemsOf are the questions for the systems of those hosts whose system is deployed.
func systemsOf(all []hosts.Host) []nix.Attribute {
	var attributes []nix.Attribute
	for _, h := range all {
		if len(h.Profiles) == 0 || slices.ContainsFunc(h.Profiles, isSystem) {
			attributes = append(attributes, systemOf(h))
		}
	}
	return attributes
}

// evaluateEach evaluates what can be evaluated; on is as in [nix.Nix.Evaluate].
func evaluateEach(ctx context.Context, program *nix.Nix, flake string, attributes []nix.Attribute, on func(nix.Progress)) (map[string]nix.Evaluated, map[string]error) {
	failures := map[string]error{}
	all, err := program.Evaluate(ctx, flake, attributes, on)
	if err == nil {
		return all, nil
	}
	all = map[string]nix.Evaluated{}
	for _, one := range attributes {
		alone, err := map[string]nix.Evaluated(nil), err
		if len(attributes) > 1 {
			alone, err = program.Evaluate(ctx, flake, []nix.Attribute{one}, nil)
		}
		if err != nil {
			failures[one.Host] = err
			continue
		}
		all[one.Host] = alone[one.Host]
	}
	return all, failures
}

func flakeCause(err error) string {
	var failed *nix.Error
	if errors.As(err, &failed) && failed.Cause != "" {
		return failed.Cause
	}
	return err.Error()
}

func (r StatusRequest) look(ctx context.Context, h hosts.Host) HostStatus {
	s := HostStatus{Host: h.Name}
	var seen protocol.LookResult
	err := Question{Host: h, Secrets: r.Secrets, Log: r.Log}.ask(ctx, agent.Ask(protocol.MethodLook, protocol.FactsRequest{Profile: profiles.System}, &seen, nil))
	s.Reachable = err == nil
	if err == nil {
		err = newHostRun(nil, h).notOurs(seen.Facts)
	}
	if err != nil {
		s.Failure, s.Code = asFailure(h.Name, "look", err).event(), CodeOf(err)
		return s
	}
	f := seen.Facts
	s.Running, s.Profile, s.Generation = capped(f.Running), capped(f.Profile.Path), f.Profile.Number
	s.Boots, s.BootsError, s.StateError = capped(f.Boots.System), capped(f.BootsError), capped(f.StateError)
	s.RebootNeeded, s.FailedUnits, s.UnitsError = seen.NeedsReboot, sorted(seen.FailedUnits), capped(seen.UnitsError)
	s.Freeze = freezeOf(f.Freeze)
	if t := f.Transaction; t != nil && !t.State.Final() {
		running := transactionOf(*t)
		running.Stale = capped(seen.Stale)
		s.Transaction = &running
	}
	return s
}

func freezeOf(f *transaction.Freeze) *Freeze {
	if f == nil {
		return nil
	}
	return &Freeze{Owner: capped(f.Owner), Message: capped(f.Message), Since: f.Since}
}
