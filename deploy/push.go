package deploy

import (
	"context"
	"errors"
	"fmt"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/profiles/protocol"
)

// built ends a run that builds only.
func (h *hostRun) built() error {
	h.note("info", "built here; no host was contacted")
	for _, p := range h.all() {
		p.done(Previewed, CodeOK)
	}
	return nil
}

// push copies the closure and keeps it on the host.
func (h *hostRun) push(ctx context.Context) error {
	err := h.copyAnd(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, beginLimit)
		defer cancel()
		if err := h.agent.Push(ctx, protocol.PushRequest{ID: h.id, New: h.system.OutPath}); err != nil {
			return h.notAnswered("push", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	h.skip("only copied", event.Trial, event.Verify, event.Commit)
	h.done(Pushed, CodeOK)
	return nil
}

// copyAnd copies the closure and then does what must find it whole on the host. It
// copies again what was collected there between the copy and the root that keeps
// it.
func (h *hostRun) copyAnd(ctx context.Context, then func(context.Context) error) error {
	for range copyAttempts {
		if err := h.bring(ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		err := then(ctx)
		var said *protocol.Error
		if !errors.As(err, &said) || said.Code != protocol.CodeMissing {
			return err
		}
		h.note("warning", "the closure was collected on the host after the copy; copying again")
	}
	return &Failure{Host: h.Name, Step: "copy", Word: Failed, Code: CodeCopy, Next: h.ssh("journalctl -u nix-gc -n 20"),
		Cause: fmt.Errorf("the closure was collected on the host %d times before it could be kept", copyAttempts)}
}

// notAnswered is a request, after the copy, that changes nothing and was not
// answered with a result.
func (h *hostRun) notAnswered(step string, err error) error {
	var said *protocol.Error
	switch {
	case errors.As(err, &said) && said.Code == protocol.CodeMissing:
		return err
	case errors.As(err, &said):
		return refused(h.Name, step, h.again(), "%s", said.Message)
	}
	return &Failure{Host: h.Name, Step: step, Word: Failed, Code: CodeCopy, Next: h.again(),
		Cause: fmt.Errorf("the connection was lost: %v; the closure is on the host and is not sent again", err)}
}
