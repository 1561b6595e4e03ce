package agent

import (
	"context"

	"github.com/hbohlen/hdeploy/profiles/protocol"
)

// AskRollback asks where a rollback would go, together with the facts.
func AskRollback(ask protocol.RollbackRequest, plan *protocol.RollbackPlan) First {
	return First{method: protocol.MethodRollbackPlan, params: ask, result: plan, limit: startLimit}
}

// Recall returns a transaction of the past.
func (a *Agent) Recall(ctx context.Context, id string) (*protocol.Status, error) {
	return a.status(ctx, protocol.MethodRecall, protocol.RecallRequest{ID: id}, nil)
}
