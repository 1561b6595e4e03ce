package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/hbohlen/hdeploy/deploy/agent"
	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/hosts/remote"
)

// targetOf is how the host is dialled where host says that it is.
func (h *hostRun) targetOf(host hosts.Host) remote.Target {
	t := remote.Target{
		Host: host.Name, Address: host.Address, Port: host.Port, User: host.User, HostKeys: host.HostKeys,
		IdentityFiles: host.IdentityFiles, Elevation: host.Elevation, ConnectTimeout: host.Timeouts.Connect,
		SSH: host.SSH, Local: host.Local, TempDir: host.TempDir, Passphrases: h.run.Secrets.keys(), Password: h.password(),
	}
	t = h.run.Secrets.seal(t, host.SSHOptions)
	for _, j := range host.Jump {
		t.Jump = append(t.Jump, h.run.Secrets.seal(remote.Target{
			Host: j.Name, Address: j.Address, Port: j.Port, User: j.User, HostKeys: j.HostKeys, IdentityFiles: j.IdentityFiles,
			SSH: j.SSH, Passphrases: t.Passphrases,
		}, nil))
	}
	return t
}

// moved is how a host is dialled once it runs a system that moves ssh itself: over
// the same hops, to another endpoint.
func (h *hostRun) moved() remote.Target {
	there, place := h.Host, h.Confirm
	if way := place.Way; way != nil {
		there.IdentityFiles, there.Jump, there.SSH = way.IdentityFiles, way.Jump, way.SSH
	}
	if len(there.HostKeys) == 0 && there.SSH.HostKeyAlias == "" {
		there.SSH.HostKeyAlias = knownAs(h.Address, h.Port) // it is the same machine
	}
	there.Address = cmp.Or(place.Address, there.Address)
	there.Port = cmp.Or(place.Port, there.Port)
	if place.User != "" && place.User != there.User {
		there.User = place.User
		if len(there.Elevation) == 0 || place.User == "root" {
			there.Elevation = hosts.DefaultElevation(place.User)
		}
	}
	if len(place.HostKeys) > 0 {
		there.HostKeys = place.HostKeys
	}
	return h.targetOf(there)
}

// knownAs is the name under which known_hosts has a host.
func knownAs(address string, port int) string {
	if port == 22 {
		return address
	}
	return fmt.Sprintf("[%s]:%d", address, port)
}

// anywhere are the places at which the host may be, whatever it runs.
func (h *hostRun) anywhere() []remote.Target {
	places := []remote.Target{h.targetOf(h.Host)}
	if h.Confirm != nil {
		places = append(places, h.moved())
	}
	return places
}

// afterwards is where the system in trial must answer. A rollback may lead to
// either side of the move.
func (h *hostRun) afterwards() []remote.Target {
	if h.Confirm == nil || h.run.undoes() {
		return h.anywhere()
	}
	return []remote.Target{h.moved()}
}

// before is where the system answered that ran before the trial: where this run
// found it, if this run began it.
func (h *hostRun) before() []remote.Target {
	if h.found == nil {
		return h.anywhere()
	}
	return []remote.Target{*h.found}
}

// dialAt takes the connection that was dialled ahead, if that was just now, or dials
// the places in turn. The error is that of the first one.
func (h *hostRun) dialAt(ctx context.Context, places []remote.Target) (*remote.Conn, error) {
	if conn, err, ok := h.takeEarly(); ok {
		return conn, err
	}
	return dialFirst(ctx, places)
}

func dialFirst(ctx context.Context, places []remote.Target) (*remote.Conn, error) {
	var first error
	for _, place := range places {
		conn, err := remote.Dial(ctx, place)
		if err == nil {
			return conn, nil
		}
		first = cmp.Or(first, err)
		var link *remote.Error
		if !errors.As(err, &link) || link.Kind == remote.Canceled {
			break
		}
	}
	return nil, first
}

// connect dials the host anew, wherever it is, starts the agent there and makes the
// first call.
func (h *hostRun) connect(ctx context.Context, first agent.First) (*remote.Conn, *agent.Agent, error) {
	return h.connectAt(ctx, h.anywhere(), first)
}

// connectAt is connect for some of the places.
func (h *hostRun) connectAt(ctx context.Context, places []remote.Target, first agent.First) (*remote.Conn, *agent.Agent, error) {
	conn, err := h.dialAt(ctx, places)
	if err != nil {
		return nil, nil, err
	}
	a, err := agent.Start(ctx, conn, h.Agent, first.About(h.of))
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, a, nil
}
