package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/hbohlen/hdeploy/profiles/atomicfile"
	"github.com/hbohlen/hdeploy/profiles/nixos"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/reach"
	"github.com/hbohlen/hdeploy/profiles/systemd"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

const (
	// witnessEvery is the time between two handshakes: OpenSSH adds a second of penalty
	// for each, and shuts an address out when it has gathered some.
	witnessEvery = 8 * time.Second
	// witnessSpare is how much longer its unit may live than it is asked to dial in.
	witnessSpare = 30 * time.Second
)

// witnessRoot has a directory for each host that is dialled in to: not below that of
// transactions, which are this host's own.
const witnessRoot = "/run/hdeploy-witness"

func witnessDir(id string) string { return filepath.Join(witnessRoot, id) }

func witnessUnit(id string) string { return "hdeploy-" + id + "-witness.service" }

func witnessKnock(p protocol.WitnessRequest) reach.Knock {
	k := reach.Knock{Address: p.Address, Port: p.Port, User: p.User, HostKeys: p.HostKeys}
	if k.User == "" {
		k.User = "root"
	}
	return k
}

// witness dials once and leaves a unit that goes on with it.
func (a agent) witness(ctx context.Context, p protocol.WitnessRequest) (any, error) {
	if !transaction.ValidID(p.ID) {
		return nil, refuse("not a transaction id: %q", p.ID)
	}
	if p.For == 0 {
		return protocol.WitnessResult{}, endWitness(ctx, p.ID)
	}
	if p.For < 0 || p.For > protocol.WitnessLongest {
		return nil, refuse("a witness dials in for at most %v, not %v", protocol.WitnessLongest, p.For)
	}
	k := witnessKnock(p)
	if err := k.Validate(); err != nil {
		return nil, refuse("%v", err)
	}
	m, err := runningPrograms()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(witnessDir(p.ID), 0o700); err != nil {
		return nil, err
	}
	result := protocol.WitnessResult{Reached: true, Addresses: dialledFrom(ctx, p.Address, p.Port)}
	if err := k.Do(ctx, m, witnessDir(p.ID)); err != nil {
		result.Reached, result.Why = false, printable(err.Error())
	}
	return result, leaveWitness(ctx, m, p)
}

func runningPrograms() (systemd.Manager, error) {
	running, err := filepath.EvalSymlinks("/run/current-system")
	if err != nil {
		return systemd.Manager{}, err
	}
	return systemd.Of(running), nil
}

// leaveWitness starts the unit unless it runs.
func leaveWitness(ctx context.Context, m systemd.Manager, p protocol.WitnessRequest) error {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	unit := witnessUnit(p.ID)
	units, err := m.Show(ctx, unit)
	if err != nil {
		return err
	}
	if active := units[unit].Active; active == "active" || active == "activating" {
		return nil
	}
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	program := filepath.Join(witnessDir(p.ID), "agent")
	err = errors.Join(atomicfile.Write(filepath.Join(witnessDir(p.ID), "request.json"), data, 0o600), nixos.CopySelf(program))
	if err != nil {
		_ = os.RemoveAll(witnessDir(p.ID)) // a copy that is cut short lies in memory, and nobody comes back for it
		return fmt.Errorf("leave a witness: %v", err)
	}
	return m.Run(ctx, systemd.Transient{
		Name:        unit,
		Description: "hdeploy: dial in to " + p.Address + " while transaction " + p.ID + " decides there",
		Command:     []string{program, "witness", p.ID},
		KillAfter:   p.For + witnessSpare,
	})
}

// endWitness stops the unit and forgets what it was asked.
func endWitness(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	m, err := runningPrograms()
	if err != nil {
		return err
	}
	return errors.Join(m.Stop(ctx, witnessUnit(id)), os.RemoveAll(witnessDir(id)))
}

// dialIn is what the unit runs.
func dialIn(ctx context.Context, id string) error {
	defer os.RemoveAll(witnessDir(id))
	data, err := os.ReadFile(filepath.Join(witnessDir(id), "request.json"))
	if err != nil {
		return fmt.Errorf("dial in: %v", err)
	}
	var p protocol.WitnessRequest
	if err := json.Unmarshal(data, &p); err != nil {
		return fmt.Errorf("dial in: %v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, p.For)
	defer cancel()
	for next := time.Now(); ; {
		next = next.Add(witnessEvery)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Until(next)):
		}
		m, err := runningPrograms()
		if err == nil {
			err = witnessKnock(p).Do(ctx, m, witnessDir(id))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, printable(err.Error()))
		}
	}
}

// dialledFrom are the addresses that a connection to the other host would have here. No
// packet is sent for it.
func dialledFrom(ctx context.Context, address string, port uint16) []netip.Addr {
	ctx, cancel := context.WithTimeout(ctx, witnessEvery)
	defer cancel()
	targets := []string{address}
	if found, err := net.DefaultResolver.LookupHost(ctx, address); err == nil {
		targets = found[:min(len(found), 8)]
	}
	var from []netip.Addr
	var dialer net.Dialer
	for _, target := range targets {
		conn, err := dialer.DialContext(ctx, "udp", net.JoinHostPort(target, strconv.Itoa(int(port))))
		if err != nil {
			continue
		}
		if local, ok := conn.LocalAddr().(*net.UDPAddr); ok {
			if a := local.AddrPort().Addr().Unmap().WithZone(""); !slices.Contains(from, a) {
				from = append(from, a)
			}
		}
		conn.Close()
	}
	return from
}
