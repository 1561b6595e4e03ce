package deploy

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// preview tells what a run would do.
func (h *hostRun) preview() error {
	h.note("info", "%s", h.plan())
	h.skip("dry run", event.Copy, event.Trial, event.Verify, event.Commit)
	h.done(Previewed, CodeOK)
	return nil
}

func (h *hostRun) plan() string {
	wanted, size := h.system.OutPath, humanize.IBytes(uint64(h.lacks.Load()))
	switch {
	case h.run.Goal == GoalPush:
		return fmt.Sprintf("would copy %s and keep %s; what runs and boots stays %s", size, wanted, h.facts.Running)
	case h.unchanged() && !h.run.activates():
		return "already boots " + wanted
	case h.unchanged():
		return "already runs " + wanted
	case h.run.bootsOnce():
		return fmt.Sprintf("would copy %s, reboot from %s into %s once, and keep that if it proves healthy", size, h.facts.Running, wanted)
	case h.run.ThenReboot:
		return fmt.Sprintf("would copy %s, boot %s from now on, and reboot, with no way back", size, wanted)
	case !h.run.activates():
		return fmt.Sprintf("would copy %s and boot %s from the next boot on; what runs stays %s", size, wanted, h.facts.Running)
	case !h.run.commits():
		return fmt.Sprintf("would copy %s and test %s until the next boot; what boots stays %s", size, wanted, h.facts.Profile.Path)
	}
	return fmt.Sprintf("would copy %s and %s from %s to %s", size, h.verb(), h.facts.Running, wanted)
}

// answerLimit is how long the answer to a request may be on its way.
const answerLimit = 30 * time.Second

// dryActivate copies the closure and asks it what its activation would do.
func (h *hostRun) dryActivate(ctx context.Context) error {
	var changes *event.Changes
	err := h.copyAnd(ctx, func(ctx context.Context) (err error) {
		changes, err = h.askChanges(ctx)
		return err
	})
	if err != nil {
		return err
	}
	h.skip("only previewed", event.Trial, event.Verify, event.Commit)
	h.done(Previewed, CodeOK)
	h.outcome.Changes = changes
	return nil
}

func (h *hostRun) askChanges(ctx context.Context) (changes *event.Changes, err error) {
	done := h.phase(event.Preview)
	detail := ""
	defer func() { done(detail, err) }()
	ctx, cancel := context.WithTimeout(ctx, h.Timeouts.Activation+answerLimit)
	defer cancel()
	said, err := h.agent.DryActivate(ctx, protocol.DryActivateRequest{ID: h.id, New: h.system.OutPath, Limit: h.Timeouts.Activation})
	if err != nil {
		return nil, h.notAnswered("preview", err)
	}
	for _, line := range said.Lines {
		h.run.emit(event.Event{Type: "line", Host: h.Name, Phase: event.Preview, Line: &event.Line{Source: "dry-activate", Text: line}})
	}
	if said.ExitCode != 0 {
		return nil, h.notPreviewed(said)
	}
	changes = readChanges(said.Lines)
	detail = plural(changes.Count(), "unit") + " would be touched"
	return changes, nil
}

// notPreviewed is a system that refuses already to say what it would do.
func (h *hostRun) notPreviewed(said protocol.DryActivateResult) error {
	f := refused(h.Name, "preview", h.ssh(h.system.OutPath+"/bin/switch-to-configuration dry-activate"), "%s", transaction.ExitMeaning(said.ExitCode))
	if said.ExitCode == 100 {
		f.Next = "hdeploy boot " + h.Name
	}
	f.Log = said.Lines[max(0, len(said.Lines)-logLines):]
	return f
}

// wouldDo is a line of switch-to-configuration about units; "as well" are those
// that the activation script asks for.
// nixpkgs, pkgs/by-name/sw/switch-to-configuration-ng/src/main.rs
var wouldDo = regexp.MustCompile(`^would (NOT )?(stop|start|restart|reload) the following (?:changed )?units(?: as well)?: (.*)$`)

// noNews is said of every system.
const noNews = "would activate the configuration..."

// readChanges sorts what switch-to-configuration said. What it does not know, the
// words of activation scripts, it keeps.
func readChanges(lines []string) *event.Changes {
	c := &event.Changes{}
	lists := map[string]*[]string{"stop": &c.Stop, "start": &c.Start, "restart": &c.Restart, "reload": &c.Reload}
	for _, line := range lines {
		line = strings.TrimSpace(line)
		match := wouldDo.FindStringSubmatch(line)
		list := &c.Other
		switch {
		case match == nil && (line == noNews || line == ""):
			continue
		case match == nil:
			*list = append(*list, line)
			continue
		case match[1] != "":
			list = &c.Keep
		default:
			list = lists[match[2]]
		}
		for unit := range strings.SplitSeq(match[3], ",") {
			if unit = strings.TrimSpace(unit); unit != "" && !slices.Contains(*list, unit) {
				*list = append(*list, unit)
			}
		}
	}
	return c
}
