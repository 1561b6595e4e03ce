package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hbohlen/hdeploy/deploy/agent"
	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// newHostRuns is a host on its way through a run, with all its profiles: the first
// one leads, and the others go with it.
func newHostRuns(r *run, h hosts.Host) *hostRun {
	lead := newHostRun(r, h)
	if r.Goal == GoalReboot {
		return lead // it is the machine that boots, whatever is deployed to it
	}
	wanted := h.Profiles
	if len(wanted) > 1 && !r.everyKind() {
		wanted = nixosOnly(h.Profiles)
		lead.note("info", "of several profiles, %s is for the NixOS system alone", r.command())
	}
	if _, given := r.Prebuilt[h.Name]; given && len(wanted) > 1 {
		wanted = nixosOnly(h.Profiles)
		lead.note("info", "of several profiles, a closure that is given is for the NixOS system alone")
	}
	for i, p := range wanted {
		one := newHostRun(r, h)
		one.ofProfile(p)
		if i == 0 {
			lead = one
			continue
		}
		one.Probes = p.Probes // the host's are asked with the first one
		lead.later = append(lead.later, one)
	}
	lead.tryOwn()
	return lead
}

// ownedByLogin says whether the login user owns all profiles, so that nothing needs
// root.
func (h *hostRun) ownedByLogin() bool {
	for _, p := range h.all() {
		if p.of == nil || p.of.Program.User != h.User || h.User == "root" {
			return false
		}
	}
	return true
}

// orElevated becomes root after all where the host would end the user's units with
// the login: what drives a transaction must outlive that.
func (h *hostRun) orElevated(ctx context.Context) error {
	if !h.needsRoot() {
		return nil
	}
	if len(h.Elevation) > 0 {
		conn, a, err := h.connect(ctx, agent.AskFacts(protocol.FactsRequest{Profile: profiles.System, LookOnly: !h.run.changes()}, &h.facts))
		if err == nil {
			h.use(conn, a)
			return nil
		}
		err = h.connectionFailure("elevate", err)
		if asFailure(h.Name, "elevate", err).Word != Refused {
			return err
		}
	}
	return refused(h.Name, "elevate", "ssh root@"+h.Address+" loginctl enable-linger "+h.User,
		"user %s does not linger, so that the host would end what watches over the deployment with the login, and may not become root either", h.User)
}

// everyKind says whether the run means something to a profile of any kind: what one
// that is no NixOS system has activated lasts, and nothing of it is booted.
func (r *run) everyKind() bool {
	return r.Goal == GoalBuild || r.Goal == GoalTransact && (r.Action == "" || r.Action == transaction.Switch)
}

func nixosOnly(all []hosts.Profile) []hosts.Profile {
	for _, p := range all {
		if isSystem(p) {
			return []hosts.Profile{p}
		}
	}
	return all[:1]
}

// isSystem says whether a profile is the host's NixOS system. deploy-rs wraps it,
// and gives it root's profile of that name.
func isSystem(p hosts.Profile) bool {
	wrapped := p.Kind == hosts.KindDeployRs && (p.User == "" || p.User == "root") && p.Name == "system" && p.Path == ""
	return p.Kind == hosts.KindNixOS || p.Kind == "" || wrapped || p.Kind == hosts.KindDeployRs && p.Path == profiles.System
}

// ofProfile makes h the run of one profile.
func (h *hostRun) ofProfile(p hosts.Profile) {
	h.profile = p
	if p.Attribute != "" {
		h.Attribute = p.Attribute
	}
	h.Probes = append(append([]hosts.Probe{}, h.Probes...), p.Probes...)
	if p.Timeouts != (hosts.Timeouts{}) {
		h.Timeouts = p.Timeouts
	}
	if !isSystem(p) {
		h.of = &agent.Profile{Link: p.Path, Program: transaction.Program{
			Profile: p.Name, User: p.User, Kind: p.Kind, Activate: p.Activate, Rollback: p.Rollback, Check: p.Check,
		}}
	}
}

// all are the host's profiles, in their order.
func (h *hostRun) all() []*hostRun { return append([]*hostRun{h}, h.later...) }

// everything is all profiles of all hosts.
func everything(leads []*hostRun) []*hostRun {
	var all []*hostRun
	for _, h := range leads {
		all = append(all, h.all()...)
	}
	return all
}

// unfailed are the hosts of which no profile has failed: nothing is built for one that
// was not reached, least of all on itself.
func unfailed(leads []*hostRun) []*hostRun {
	return slices.DeleteFunc(slices.Clone(leads), func(h *hostRun) bool { return h.broken() != nil })
}

// broken is the first of the host's profiles that has failed, nil where none has.
func (h *hostRun) broken() *hostRun {
	for _, p := range h.all() {
		if p.failure != nil {
			return p
		}
	}
	return nil
}

// key names the profile in an evaluation.
func (h *hostRun) key() string {
	if h.profile.Name == "" || h.profile.Name == "system" {
		return h.Name
	}
	return h.Name + ":" + h.profile.Name // no name has a colon
}

// askLater asks for the facts of the other profiles over the connection of the first.
func (h *hostRun) askLater(ctx context.Context) error {
	for _, p := range h.later {
		p.conn, p.agent = h.conn, h.agent.About(p.of)
		if err := p.askAgain(ctx); err != nil {
			return err
		}
	}
	return nil
}

// askAgain asks for the profile's facts over the connection at hand.
func (h *hostRun) askAgain(ctx context.Context) error {
	h.facts = protocol.Facts{}
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	err := h.agent.Facts(ctx, protocol.FactsRequest{Profile: profiles.System, LookOnly: !h.run.changes()}, &h.facts)
	var said *protocol.Error
	if errors.As(err, &said) {
		return refused(h.Name, "look", "correct profile "+h.profile.Name+" of "+h.Name, "%s", said.Message)
	}
	if err != nil {
		return h.connectionFailure("look", err)
	}
	return h.checkHost()
}

// checkKind refuses what is not of the profile's kind, as far as that shows here.
func (h *hostRun) checkKind() error {
	if !h.run.everyKind() && h.run.Action != transaction.Rollback {
		return refused(h.Name, "judge", "hdeploy switch "+h.Name,
			"profile %s can only be switched: what a %s activation changes lasts, and nothing of it is booted", h.profile.Name, h.of.Program.Kind)
	}
	if h.facts.Running == "" {
		h.note("warning", "profile %s has no generation on the host: should this one fail, there is nothing to activate instead", h.profile.Name)
	}
	return nil
}

// told is what the outcome says of one profile.
func (h *hostRun) told(o event.Outcome) event.ProfileOutcome {
	return event.ProfileOutcome{
		Profile: h.profile.Name, Kind: h.kind(), Outcome: o.Outcome, Code: o.Code, Closure: o.Closure, Running: o.Running, Previous: o.Previous,
		Generation: o.Generation, Transaction: o.Transaction, Failure: o.Failure,
	}
}

func (h *hostRun) kind() string {
	switch {
	case h.of != nil:
		return h.of.Program.Kind
	case h.profile.Kind == "":
		return hosts.KindNixOS
	}
	return h.profile.Kind
}

// finishAll is the outcome of a host with all its profiles: that of the worst. Of
// several that are equally bad it is the one that the others went back for, and of
// those that went well one that changed.
func (h *hostRun) finishAll(ctx context.Context) event.Outcome {
	if len(h.later) == 0 {
		return h.finish(ctx)
	}
	var told []event.ProfileOutcome
	var worst *event.Outcome
	for _, p := range h.all() {
		if p.outcome == nil && p.failure == nil && h.failure != nil {
			p.failure = h.failure
		}
		o := p.finish(ctx)
		told = append(told, p.told(o))
		worse := worst == nil || o.Code != worst.Code && Worst(o.Code, worst.Code) == o.Code
		if worse || o.Code == worst.Code && (p == h.blamed || worst.Outcome == string(Unchanged)) {
			worst = &o
		}
	}
	worst.Profiles = told
	return *worst
}

// undone says why a profile was taken back that was well itself.
func undone(by *hostRun, why string) string {
	return fmt.Sprintf("profile %s failed: %s", by.profile.Name, why)
}

// programs is the system whose programs the host runs, whatever the profile is.
func (h *hostRun) programs() string {
	if h.of != nil {
		return "/run/current-system"
	}
	return h.facts.Running
}
