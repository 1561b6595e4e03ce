package deploy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/protocol"
)

const (
	// drainPause is between two looks at what the host's CI agent builds.
	drainPause = 5 * time.Second
	// tasksLimit bounds one such look.
	tasksLimit = 30 * time.Second
)

// drain waits, as long as deploy.toml says, until the host's CI agent builds nothing
// that the switch could end. What still builds after that is told.
func (h *hostRun) drain(ctx context.Context) error {
	if !h.buildsForOthers() {
		return nil
	}
	end := time.Now().Add(h.Drain)
	for told := -1; ; {
		tasks, err := h.tasks(ctx)
		if err != nil {
			return err
		}
		left := time.Until(end)
		switch {
		case tasks == 0:
			return nil
		case left <= 0:
			h.note("warning", "%s of the host's CI agent may be ended by this deployment", plural(tasks, "build"))
			return nil
		case tasks != told:
			h.note("info", "the host's CI agent is at %s: waiting up to %s more", plural(tasks, "build"), rounded(left))
			told = tasks
		}
		h.run.emit(event.Event{Type: "progress", Host: h.Name, Phase: event.Judge, Progress: &event.Progress{Total: int64(tasks), Unit: "builds"}})
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(drainPause, left)):
		}
	}
}

// buildsForOthers says whether the host may have a CI agent that the switch ends.
func (h *hostRun) buildsForOthers() bool {
	if h.of != nil || !h.run.Action.Switches() {
		return false
	}
	if h.decidesAlone() {
		return true
	}
	for _, p := range h.Probes {
		if p.Kind == string(probe.KindHercules) {
			return true
		}
	}
	return false
}

// tasks counts what the host's CI agent works on, without the effect that runs this. An
// agent of hdeploy that cannot tell is no reason to stop.
func (h *hostRun) tasks(ctx context.Context) (int, error) {
	limited, cancel := context.WithTimeout(ctx, tasksLimit)
	defer cancel()
	request := protocol.TasksRequest{Unit: h.ciAgent()}
	if h.itself {
		request.Asker = protocol.ThisProcess()
	}
	result, err := h.agent.Tasks(limited, request)
	var said *protocol.Error
	switch {
	case errors.As(err, &said):
		h.note("warning", "what the host's CI agent builds is not known: %s", said.Message)
		return 0, nil
	case err != nil:
		return 0, h.connectionFailure("drain", fmt.Errorf("ask what the CI agent builds: %w", err))
	}
	return others(result.Tasks, h.itself && h.run.Effect), nil
}

// others counts the tasks that are not this one. Where none of them was known for the
// effect that runs this, one of them is.
func others(tasks []protocol.Task, inEffect bool) int {
	count, own := 0, false
	for _, t := range tasks {
		if t.Own {
			own = true
			continue
		}
		count++
	}
	if inEffect && !own && count > 0 {
		count--
	}
	return count
}
