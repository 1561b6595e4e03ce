package deploy

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/deploy/agent"
	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/reach"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// Machine is what a process knows of the machine that it runs on.
type Machine struct {
	// BootID is that of the running kernel. MachineID is empty where there is none, as
	// in the sandbox of an effect.
	BootID, MachineID string
}

// ThisMachine is the one that this process runs on. What cannot be read is empty.
func ThisMachine() Machine {
	read := func(path string) string {
		text, _ := os.ReadFile(path)
		return strings.TrimSpace(string(text))
	}
	return Machine{BootID: read("/proc/sys/kernel/random/boot_id"), MachineID: read("/etc/machine-id")}
}

// is says whether the facts are about this machine. Containers share the kernel's
// boot id: without a machine-id only an effect, whose sandbox has none, is believed to
// run on the host.
func (m Machine) is(f protocol.Facts, effect bool) bool {
	switch {
	case m.BootID == "" || m.BootID != f.BootID:
		return false
	case m.MachineID == "":
		return effect
	}
	return m.MachineID == f.MachineID
}

// alone is a run whose host decides by itself: the deployment may end this process, and
// nothing that this process could do would prove anything.
type alone struct {
	// decidesBy is when the host has decided, whatever happens; zero before the start.
	decidesBy time.Time
	// witness dials in from outside; nil for none.
	witness *witness
	// left says that this process was told to end, and left the host to itself.
	left bool
}

// lookForThisProcess asks a host that shares the kernel with an effect, whose sandbox has
// no machine-id, whether it is a container that the effect does not run in. An agent that
// cannot tell is believed to be this machine's.
func (h *hostRun) lookForThisProcess(ctx context.Context) {
	here := h.run.here()
	if h.Local || here.MachineID != "" || !here.is(h.facts, h.run.Effect) {
		return
	}
	limited, cancel := context.WithTimeout(ctx, tasksLimit)
	defer cancel()
	result, err := h.agent.Tasks(limited, protocol.TasksRequest{Unit: h.ciAgent(), Asker: protocol.ThisProcess()})
	h.container = err == nil && result.Elsewhere
}

// chooseMode finds out who confirms, once the host's facts are known.
func (h *hostRun) chooseMode() error {
	itself := h.Local || h.run.here().is(h.facts, h.run.Effect) && !h.container
	for _, p := range h.all() {
		p.itself, p.alone = itself, nil
	}
	switches := h.run.Goal == GoalTransact && h.run.Action.Switches()
	if !switches || h.Mode == hosts.ModeRemote || h.Mode != hosts.ModeSelf && !h.itself {
		h.noteRemote(switches)
		return nil
	}
	why := h.notAlone()
	if why == "" {
		h.alone = &alone{}
		h.note("info", "%s: the host decides by itself, whatever becomes of hdeploy", h.whyAlone())
		return nil
	}
	if h.Mode == hosts.ModeSelf || h.run.Effect {
		return refused(h.Name, "judge", `set confirm_mode = "remote" for `+h.Name+" in deploy.toml, and deploy it from another machine",
			"%s, and the host cannot decide by itself: %s", h.whyAlone(), why)
	}
	h.note("warning", "%s, and the host cannot decide by itself: %s; hdeploy confirms, and the host goes back where it does not live to do that", h.whyAlone(), why)
	return nil
}

// noteRemote warns of what a confirmation by hdeploy means for the host.
func (h *hostRun) noteRemote(switches bool) {
	switch {
	case !switches || h.run.DryRun:
	case h.itself && !h.Local && h.Mode == hosts.ModeRemote:
		h.note("warning", `confirm_mode = "remote", but hdeploy runs on this host: where the switch ends it, the host goes back`)
	case h.RestartAgent == hosts.RestartLast:
		h.note("info", "restart_agent = \"last\" is for a host that decides by itself; where the agent's unit changes, restart it afterwards: %s",
			h.ssh("systemctl restart "+h.ciAgent()))
	}
}

func (h *hostRun) whyAlone() string {
	switch {
	case h.Mode == hosts.ModeSelf:
		return `confirm_mode = "self"`
	case h.run.Effect:
		return "this effect runs on the host that it deploys"
	}
	return "hdeploy runs on the host that it deploys"
}

// notAlone says why the host cannot decide by itself, empty where it can.
func (h *hostRun) notAlone() string {
	switch {
	case len(h.later) > 0 || h.of != nil:
		return "that is for the NixOS system alone, and " + cmp.Or(h.profileNames(), "another profile") + " would be deployed"
	case h.keeps():
		return h.keptBy() + " leaves a system that failed to a person, who must be known to reach it"
	}
	return ""
}

func (h *hostRun) profileNames() string {
	var names []string
	for _, p := range h.all() {
		if p.of != nil {
			names = append(names, p.profile.Name)
		}
	}
	return strings.Join(names, ", ")
}

// decidesAlone says whether the transaction at hand is decided by the host. One that
// only boots the system ends nothing that runs here.
func (h *hostRun) decidesAlone() bool { return h.alone != nil && h.bootInstead == "" }

// here is the machine that the run is made on.
func (r *run) here() Machine {
	if r.Here != nil {
		return *r.Here
	}
	return ThisMachine()
}

// aloneRequest is what the host is asked to prove, nil where this side confirms.
func (h *hostRun) aloneRequest() *transaction.Alone {
	if !h.decidesAlone() {
		return nil
	}
	request := &transaction.Alone{OnUnknown: h.onUnknown(), RestartLast: h.restartLast()}
	request.Question = reach.Question{Users: h.logins(), Outward: h.outward()}
	if h.alone.witness != nil {
		request.Question = h.alone.witness.asked(request.Question)
	}
	return request
}

// checkAble refuses, before anything is copied, a host whose agent cannot decide by itself.
func (h *hostRun) checkAble() error {
	if !h.decidesAlone() {
		return nil
	}
	if err := h.agent.Able(protocol.StartRequest{Alone: &transaction.Alone{}}); err != nil {
		return refused(h.Name, "start the agent", h.explainAgent(&agent.Error{Kind: agent.Versions}), "%v", err)
	}
	return nil
}

func (h *hostRun) onUnknown() reach.OnUnknown {
	switch {
	case h.run.undoes():
		return reach.Commit // what a person decided in an incident stands
	case h.OnUnknown == hosts.OnUnknownRollback:
		return reach.GoBack
	case h.OnUnknown == hosts.OnUnknownCommit:
		return reach.Commit
	}
	return reach.WhenChanged
}

// logins are the users that must still be let in.
func (h *hostRun) logins() []string {
	users := []string{h.User}
	if h.Confirm != nil && h.Confirm.User != "" {
		users = append(users, h.Confirm.User)
	}
	if !slices.Contains(users, "root") {
		users = append(users, "root")
	}
	return users
}

// outward is what the host must still reach: what deploy.toml says, or else the
// service of the agent that a probe judges.
func (h *hostRun) outward() []string {
	if h.Outward != nil {
		return h.Outward
	}
	specs, err := h.specs()
	if err != nil {
		return nil
	}
	var services []string
	for _, s := range specs {
		if ask, ok := s.Ask.(*probe.HerculesSpec); ok && !ask.NotConfigured {
			services = append(services, serviceOf(*ask)...)
		}
	}
	return slices.Compact(services)
}

// serviceOf is where the agent must reach its service, none where that is no TLS.
func serviceOf(ask probe.HerculesSpec) []string {
	u, err := url.Parse(cmp.Or(ask.APIBaseURL, "https://hercules-ci.com"))
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil
	}
	return []string{"https://" + u.Host}
}

// ciAgent is the unit of the host's CI agent.
func (h *hostRun) ciAgent() string {
	for _, p := range h.Probes {
		specs, _ := spec(p)
		for _, s := range specs {
			if ask, ok := s.Ask.(*probe.HerculesSpec); ok && ask.Unit != "" {
				return ask.Unit
			}
		}
	}
	return herculesUnit
}

// restartLast are the units that the host restarts after everything else was judged.
func (h *hostRun) restartLast() []string {
	if h.RestartAgent != hosts.RestartLast {
		return nil
	}
	return []string{h.ciAgent()}
}

// proofLimit is how long the host may take to find out what it can prove, and to wait for
// a witness.
const proofLimit = 75 * time.Second

// deliberation is how long the host may take to decide, beyond its probes.
func (h *hostRun) deliberation(specs []probe.Spec) time.Duration {
	if !h.decidesAlone() {
		return 0
	}
	limit := proofLimit
	if h.restartLast() != nil {
		limit += transaction.RestartLastLimit + probe.LongestDeadline(specs)
	}
	return limit
}

// seenFromHere makes the probes those of a host that decides by itself: this process
// may be gone when they are to be asked. What asks over the network sees the same from
// the host, which is this machine; what cannot be asked there is left out where it only
// alerts, and refused where it could take the system back.
func (h *hostRun) seenFromHere(specs []probe.Spec) ([]probe.Spec, error) {
	if !h.decidesAlone() {
		return specs, nil
	}
	var asked []probe.Spec
	for _, s := range specs {
		switch {
		case s.From == probe.FromHost:
		case s.Kind == probe.KindHTTP || s.Kind == probe.KindTCP || s.Kind == probe.KindDNS:
			h.note("info", "probe %s is asked from the host, and not from hdeploy, which may be gone by then", s.Name)
			s.From = probe.FromHost
		case s.OnFail == probe.Alert && s.OnUnknown == probe.Alert:
			h.note("warning", "probe %s is not asked: it is asked from hdeploy, which may be gone by then", s.Name)
			continue
		default:
			return nil, refused(h.Name, "judge", fmt.Sprintf("set from = \"host\" in [probes.%s], or confirm_mode = \"remote\" for %s, in deploy.toml", s.Name, h.Name),
				"probe %s decides, and is asked from hdeploy, which may be gone when the host decides by itself", s.Name)
		}
		asked = append(asked, s)
	}
	return asked, nil
}
