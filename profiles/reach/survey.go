package reach

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hbohlen/hdeploy/profiles/probe"
	"github.com/hbohlen/hdeploy/profiles/systemd"
)

// The names of the looks.
const (
	Handshake = "handshake"
	Listening = "listening"
	Sshd      = "sshd"
	Keys      = "keys"
	Filter    = "filter"
	Network   = "network"
	Outward   = "outward"
	FromAway  = "inbound"
)

// lookLimit is how long one look may take; they are made at the same time.
const lookLimit = 10 * time.Second

// Host is this machine, looked at with the programs of toplevels.
type Host struct {
	// Programs are those of the running system first, then of others that have what it
	// lacks: a new system may have lost the program that shows its packet filter.
	Programs []systemd.Manager
	// Dir is a directory of root alone.
	Dir string
}

// Survey is how a host stood before the trial, for the comparison. It belongs in a file
// of root alone: options of keys may hold what nobody else should read.
type Survey struct {
	// Unread says why a look could not be made, by its name.
	Unread map[string]string `json:"unread,omitempty"`
	// Ports are those of ssh, Listeners the sockets on them.
	Ports     []uint16         `json:"ports,omitempty"`
	Listeners []netip.AddrPort `json:"listeners,omitempty"`
	// HostKeys are "TYPE BASE64", one per key that sshd shows.
	HostKeys []string         `json:"host_keys,omitempty"`
	Logins   map[string]Login `json:"logins,omitempty"`
	// From is an address that a login came from, to ask sshd about.
	From netip.Addr `json:"from,omitzero"`
	// Filter is what decides about TCP to the ports, Network the addresses and default
	// routes; each line is one.
	Filter  []string `json:"filter,omitempty"`
	Network []string `json:"network,omitempty"`
	// Outward are the places that were reached.
	Outward []string `json:"outward,omitempty"`
}

// Login is what decides whether a user is let in.
type Login struct {
	// Account is the user's line of passwd; nil where there is none.
	Account *Account `json:"account,omitempty"`
	// Settings are sshd's for this user, by keyword.
	Settings Settings `json:"settings,omitempty"`
	// Keys are those that are admitted, Refused why files of keys are not.
	Keys    []Key    `json:"keys,omitempty"`
	Refused []string `json:"refused,omitempty"`
}

func (h Host) has(name string) (systemd.Manager, bool) {
	for _, m := range h.Programs {
		if info, err := os.Stat(filepath.Join(m.Bin, name)); err == nil && info.Mode().IsRegular() {
			return m, true
		}
	}
	return systemd.Manager{}, false
}

// Survey looks at the host before the trial. It ends within the time of one look.
func (h Host) Survey(ctx context.Context, q Question) Survey {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	s := Survey{Unread: map[string]string{}}
	var lock sync.Mutex
	unread := func(err error, looks ...string) {
		lock.Lock()
		defer lock.Unlock()
		for _, look := range looks {
			s.Unread[look] = probe.Clean(err.Error())
		}
	}
	var looks sync.WaitGroup
	looks.Go(func() { s.Outward = reachedOutward(ctx, q.Outward) })
	looks.Go(func() {
		var err error
		if s.Network, err = readNetwork(); err != nil {
			unread(err, Network)
		}
	})
	d, err := h.daemon(ctx)
	if err != nil {
		unread(err, Handshake, Listening, Sshd, Keys, Filter)
	} else {
		looks.Go(func() { h.surveyFilter(ctx, d, &s, unread) })
		looks.Go(func() { h.surveySockets(ctx, d, &s, unread) })
		looks.Go(func() { h.surveyHandshake(ctx, d, q, unread) })
		h.surveyLogins(ctx, d, q, &s, unread)
	}
	looks.Wait()
	return s
}

// testAddress is who sshd is asked about where nobody was logged in: one that belongs to
// nobody (RFC 5737).
var testAddress = netip.AddrFrom4([4]byte{192, 0, 2, 1})

// surveyFilter reads the packet filter for the ports of ssh.
func (h Host) surveyFilter(ctx context.Context, d daemon, s *Survey, unread func(error, ...string)) {
	var err error
	if s.Filter, err = h.readFilter(ctx, d.ports()); err != nil {
		unread(err, Filter)
	}
}

func (h Host) surveySockets(ctx context.Context, d daemon, s *Survey, unread func(error, ...string)) {
	s.Ports, s.HostKeys = d.ports(), d.hostKeys()
	var err error
	if s.Listeners, err = listeners(ctx, s.Ports); err == nil && len(s.Listeners) == 0 {
		err = errors.New("nothing listens for ssh")
	}
	if err != nil {
		unread(err, Listening, Handshake)
	}
}

// surveyHandshake knocks before the trial: that sshd does not answer to the host itself
// afterwards says nothing where it never did, as behind a filter of its own.
func (h Host) surveyHandshake(ctx context.Context, d daemon, q Question, unread func(error, ...string)) {
	p := prover{Host: h, q: q, before: Survey{Ports: d.ports(), HostKeys: d.hostKeys()}}
	if f := settled(ctx, Handshake, p.handshake); f.State == Failed {
		unread(fmt.Errorf("it failed then, too: %s", f.Detail), Handshake)
	}
}

func (h Host) surveyLogins(ctx context.Context, d daemon, q Question, s *Survey, unread func(error, ...string)) {
	s.From = loginFrom(ctx, d.ports())
	s.Logins = map[string]Login{}
	for _, name := range q.users() {
		l, err := d.login(ctx, name, s.From)
		if err != nil {
			unread(err, Sshd, Keys)
			return
		}
		s.Logins[name] = l
	}
}

// loginFrom is an address that somebody is connected from.
func loginFrom(ctx context.Context, ports []uint16) netip.Addr {
	sockets, err := probe.TCPSockets(ctx)
	if err != nil {
		return testAddress
	}
	w := newWatch(Question{}, ports, nil)
	w.see(sockets, isHere)
	if !w.other.IsValid() {
		return testAddress
	}
	return w.other.WithZone("")
}
