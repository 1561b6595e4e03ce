package agent

import (
	"context"
	"encoding/json"

	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// Ask makes any other method of the agent the first call; on is called with its
// events, and may be nil.
func Ask(method string, params, result any, on func(json.RawMessage)) First {
	return First{method: method, params: params, result: result, on: on, limit: startLimit}
}

// Journal returns what units of the host said last.
func (a *Agent) Journal(ctx context.Context, units []string) ([]transaction.UnitLog, error) {
	var result protocol.JournalResult
	err := a.client.Client.Call(ctx, protocol.MethodJournal, protocol.JournalRequest{Units: units}, &result, nil)
	return result.Journal, err
}
