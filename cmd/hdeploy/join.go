package main

import (
	"context"
	"fmt"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/deploy/relay"
)

// joinCommand is what Nix calls to read the store of a host: it has a socket of
// hdeploy's and appends words that mean something to a Nix daemon alone. Like
// completeCommand it is no part of the command tree.
const joinCommand = "__join"

func runJoin(ctx context.Context, s streams, socket string) int {
	if err := relay.Join(ctx, socket, s.In, s.Out); err != nil {
		fmt.Fprintln(s.ErrOut, "hdeploy:", err)
		return deploy.CodeInternal
	}
	return deploy.CodeOK
}
