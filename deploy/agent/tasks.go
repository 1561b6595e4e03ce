package agent

import (
	"context"

	"github.com/hbohlen/hdeploy/profiles/protocol"
)

// Able says why a host's agent that has answered once cannot be asked this.
func (a *Agent) Able(request any) error { return a.client.Able(request) }

// Tasks tells what a CI agent on the host works on.
func (a *Agent) Tasks(ctx context.Context, r protocol.TasksRequest) (protocol.TasksResult, error) {
	var result protocol.TasksResult
	err := a.client.Client.Call(ctx, protocol.MethodTasks, r, &result, nil)
	return result, err
}
