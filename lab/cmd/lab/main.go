// Command lab starts and stops the hosts of a lab world from the shell. Hosts run on
// when it ends; every call finds them again from what is written on disk.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/hbohlen/hdeploy/lab"
)

const usage = `lab: real NixOS-shaped hosts on this machine

Usage: scripts/lab COMMAND [ARGUMENTS]

  up [HOST[=LOADER]...]    start the workstation and these hosts, created if they are
                           not there; LOADER is systemd-boot (default) or grub
                             scripts/lab up web1 web2=grub
  status                   list the hosts
                             scripts/lab status
  exec HOST CMD...         run a command as root in a host
                             scripts/lab exec web1 systemctl --failed
  power-cut HOST           end a host as if its plug were pulled
                             scripts/lab power-cut web1
  boot HOST                start a host that is off from what is on its disk
                             scripts/lab boot web1
  cut HOST                 pull the network cable of a host
                             scripts/lab cut web1
  restore HOST             put the network cable back
                             scripts/lab restore web1
  limit HOST RATE          limit what a host can receive; "none" lifts the limit
                             scripts/lab limit web1 10mbit
  delay HOST RTT           proxy in front of the host's sshd that adds a round trip
                           time, until interrupted; prints the address to use
                             scripts/lab delay web1 80ms
  new-nix HOST             give a host a newer Nix beside its own, in /opt/nix/bin
                             scripts/lab new-nix workstation
  down                     end all hosts and remove the world
                             scripts/lab down
  clean                    remove every world, and the layers that were built for them
                             scripts/lab clean

Environment: HDEPLOY_LAB_WORLD   name of the world (lab)
             HDEPLOY_LAB_DIR     where worlds are kept (/var/lib/hdeploy-lab)
             HDEPLOY_LAB_CACHE   where layers are kept (/var/cache/hdeploy-lab)
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		code = max(code, 1)
	}
	stop()
	os.Exit(code)
}

// A command gets the arguments after its name and returns the exit code.
type command struct {
	minimum, maximum int // number of arguments; no limit if maximum is negative
	run              func(ctx context.Context, world string, args []string) (int, error)
}

var commands = map[string]command{
	"up":        {0, -1, up},
	"status":    {0, 0, status},
	"exec":      {2, -1, execute},
	"power-cut": {1, 1, onHost((*lab.Host).PowerCut)},
	"boot":      {1, 1, onHost((*lab.Host).Boot)},
	"cut":       {1, 1, onHost((*lab.Host).CutNetwork)},
	"restore":   {1, 1, onHost((*lab.Host).RestoreNetwork)},
	"limit":     {2, 2, limit},
	"delay":     {2, 2, delay},
	"new-nix":   {1, 1, onHost((*lab.Host).AddNewNix)},
	"down":      {0, 0, down},
	"clean":     {0, 0, clean},
}

func run(ctx context.Context, args []string) (int, error) {
	if len(args) == 0 || args[0] == "help" || args[0] == "--help" || args[0] == "-h" {
		fmt.Print(usage)
		return 0, nil
	}
	command, known := commands[args[0]]
	if !known {
		return 2, fmt.Errorf("unknown command %q; see scripts/lab help", args[0])
	}
	count := len(args) - 1
	if count < command.minimum || command.maximum >= 0 && count > command.maximum {
		return 2, fmt.Errorf("%s: wrong number of arguments; see scripts/lab help", args[0])
	}
	world := os.Getenv("HDEPLOY_LAB_WORLD")
	if world == "" {
		world = "lab"
	}
	return command.run(ctx, world, args[1:])
}

func up(ctx context.Context, name string, args []string) (int, error) {
	fmt.Println("opening the lab; the first time this takes a few minutes")
	world, err := lab.Open(ctx, name)
	if err != nil {
		return 1, err
	}
	if _, err := world.Workstation(ctx); err != nil {
		return 1, err
	}
	for _, arg := range args {
		host, loader, _ := strings.Cut(arg, "=")
		if err := upHost(ctx, world, host, loader); err != nil {
			return 1, err
		}
	}
	return status(ctx, name, nil)
}

func upHost(ctx context.Context, world *lab.World, name, loader string) error {
	host, err := world.Host(name)
	if err == nil && host.Ready() {
		if loader != "" && loader != host.Loader() {
			return fmt.Errorf("host %s is there with loader %s", name, host.Loader())
		}
		return host.Boot(ctx)
	}
	if err != nil && !errors.Is(err, lab.ErrNoHost) {
		return err
	}
	_, err = world.NewHost(ctx, name, lab.HostOptions{Loader: loader})
	return err
}

func status(_ context.Context, name string, _ []string) (int, error) {
	world, err := lab.Attach(name)
	if err != nil {
		return 1, err
	}
	hosts, err := world.Hosts()
	if err != nil {
		return 1, err
	}
	if len(hosts) == 0 {
		fmt.Printf("world %s has no hosts\n", name)
		return 0, nil
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "HOST\tSTATE\tADDRESS\tKIND\tLOADER\tCONSOLE")
	for _, host := range hosts {
		state := "off"
		if host.Running() {
			state = "running"
		}
		fmt.Fprintln(table, strings.Join([]string{
			host.Name, state, host.Address, host.Kind(), orDash(host.Loader()), host.ConsoleLog(),
		}, "\t"))
	}
	return 0, table.Flush()
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func findHost(world, name string) (*lab.Host, error) {
	attached, err := lab.Attach(world)
	if err != nil {
		return nil, err
	}
	return attached.Host(name)
}

func execute(ctx context.Context, world string, args []string) (int, error) {
	host, err := findHost(world, args[0])
	if err != nil {
		return 1, err
	}
	streams := lab.ExecOptions{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	if term := os.Getenv("TERM"); term != "" {
		streams.Env = []string{"TERM=" + term}
	}
	command := args[1:]
	if command[0] == "--" && len(command) > 1 {
		command = command[1:] // as people are used to from other programs
	}
	process, err := host.Start(ctx, streams, command...)
	if err != nil {
		return 1, err
	}
	return process.Wait()
}

// onHost makes a command of a method that needs nothing but the host.
func onHost(method func(*lab.Host, context.Context) error) func(context.Context, string, []string) (int, error) {
	return func(ctx context.Context, world string, args []string) (int, error) {
		host, err := findHost(world, args[0])
		if err != nil {
			return 1, err
		}
		return 0, method(host, ctx)
	}
}

func limit(ctx context.Context, world string, args []string) (int, error) {
	host, err := findHost(world, args[0])
	if err != nil {
		return 1, err
	}
	rate := args[1]
	if rate == "none" {
		rate = ""
	}
	return 0, host.LimitBandwidth(ctx, rate)
}

func delay(ctx context.Context, name string, args []string) (int, error) {
	rtt, err := time.ParseDuration(args[1])
	if err != nil || rtt < 0 {
		return 2, fmt.Errorf("delay: round trip time %q; want for example 80ms", args[1])
	}
	world, err := lab.Attach(name)
	if err != nil {
		return 1, err
	}
	host, err := world.Host(args[0])
	if err != nil {
		return 1, err
	}
	address, stop, err := world.DelayProxy(ctx, host.Address+":22", rtt)
	if err != nil {
		return 1, err
	}
	fmt.Println(address)
	<-ctx.Done()
	stop()
	return 0, nil
}

func down(ctx context.Context, name string, _ []string) (int, error) {
	world, err := lab.Attach(name)
	if err != nil {
		return 1, err
	}
	return 0, world.Close(ctx)
}

func clean(ctx context.Context, _ string, _ []string) (int, error) {
	names, err := lab.Worlds()
	if err != nil {
		return 1, err
	}
	for _, name := range names {
		if code, err := down(ctx, name, nil); err != nil {
			return code, err
		}
	}
	return 0, lab.RemoveLayers(ctx)
}
