// Command hdeploy-agent is the program that runs on a host: it answers hdeploy
// over its standard streams, supervises a transaction in a unit of its own, is
// the dead-man's switch, and settles at boot what the boot before left. People do
// not run it.
//
// It stays small and static, and links neither SSH nor a command line, TOML or
// terminal library: whatever it links runs as root on every host.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/hbohlen/hdeploy/profiles/nixos"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/reach"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

func main() {
	// Output of a unit or of a connection that is gone must end nothing.
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "hdeploy-agent:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "serve":
		fmt.Fprintln(os.Stderr, protocol.Ready)
		return serve(ctx, os.Stdin, os.Stdout)
	case len(args) == 2 && args[0] == "supervise" && transaction.ValidID(args[1]):
		return hostEngine().Supervise(ctx, args[1])
	case len(args) == 2 && args[0] == "deadman" && transaction.ValidID(args[1]):
		return hostEngine().TakeOver(ctx, args[1], "the dead-man's switch acted: the supervisor was gone or the last deadline had passed")
	case len(args) == 3 && (args[0] == "supervise" || args[0] == "deadman") && transaction.ValidID(args[1]):
		return ofProfile(ctx, args[0], args[1], args[2])
	case len(args) == 1 && args[0] == "resume":
		return resume(ctx)
	case len(args) == 2 && args[0] == "stopped" && transaction.ValidID(args[1]):
		return stopped(ctx, args[1])
	case len(args) == 2 && args[0] == "metrics":
		return agent{engine: hostEngine()}.writeMetrics(args[1])
	case len(args) == 2 && args[0] == "witness" && transaction.ValidID(args[1]):
		return dialIn(ctx, args[1])
	case len(args) == 1 && args[0] == "version":
		_, err := fmt.Println(protocol.Release)
		return err
	}
	return fmt.Errorf("this program is run by hdeploy, not by people (arguments %q)", args)
}

func hostEngine() transaction.Engine {
	store := transaction.HostStore()
	host := nixos.Host{Store: store, Clock: nixos.Clock{}}
	return transaction.Engine{
		Store:     store,
		Clock:     nixos.Clock{},
		Host:      host,
		Restarter: host,
		Prover:    host,
		Comparer:  host,
		Reboot:    nixos.Reboot,
		Log:       toJournal,
		Journal:   nixos.Journal,
	}
}

func toJournal(r transaction.Record) { fmt.Fprintln(os.Stderr, inJournal(r)) }

// inJournal is the line that tells of a transaction. A proof that decided is its reason,
// and told once.
func inJournal(r transaction.Record) string {
	line := fmt.Sprintf("transaction %s by %s: %s, new system %s", r.ID, r.Deployer, r.State, r.New)
	if r.Alone != nil {
		line += "; the host decides alone"
	}
	switch {
	case r.Reason != "":
		line += ": " + r.Reason
	case r.Proof != nil && r.Alone != nil:
		line += ": " + reach.Decide(*r.Proof, r.Alone.OnUnknown).Reason
	}
	return line
}
