// Command hdeploy deploys NixOS systems to remote hosts.
//
// It is the only place that reads arguments, environment and signals, and the
// only one that exits. It keeps standard output for the answer that was asked
// for: whatever went wrong, and everything on the way, goes to standard error.
package main

import (
	"context"
	"os"

	"github.com/hbohlen/hdeploy/deploy/display/background"
)

func main() {
	background.Known()
	os.Exit(Main(context.Background(), os.Args[1:], systemStreams()))
}
