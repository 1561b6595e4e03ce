package deploy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"

	"github.com/hbohlen/hdeploy/deploy/agent"
	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/deploy/nix"
	"github.com/hbohlen/hdeploy/deploy/relay"
	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/closure"
	"github.com/hbohlen/hdeploy/profiles/protocol"
)

// Join is how Nix reads the store of a host that has built for another: Program is
// called with Command and the path of a socket, and joins that with its standard
// input and output, as [relay.Join] does.
type Join struct{ Program, Command string }

// elsewhere names the host that builds for this one, empty where this machine does.
func (h *hostRun) elsewhere() string {
	switch {
	case h.run.Goal == GoalBuild, h.prebuilt() != nil, h.Build == "", h.Build == hosts.BuildLocal:
		return ""
	case h.Build != hosts.BuildHost && h.Build != h.Name:
		return h.Build
	case h.Local: // it is this machine
		return ""
	}
	return h.Name
}

// place is a host that builds, seen through a connection that lasts until the run's
// end.
type place struct {
	host  *hostRun
	relay *relay.Relay
	store nix.Store
}

// places are those of a run. Each is reached once, however many hosts it builds for.
type places struct {
	mu     sync.Mutex
	byName map[string]func() (*place, error)
}

// of reaches the host that builds for h.
func (p *places) of(ctx context.Context, h *hostRun) (*place, error) {
	p.mu.Lock()
	name := h.elsewhere()
	reach := p.byName[name]
	if reach == nil {
		reach = sync.OnceValues(func() (*place, error) { return h.run.reach(ctx, h, name) })
		if p.byName == nil {
			p.byName = map[string]func() (*place, error){}
		}
		p.byName[name] = reach
	}
	p.mu.Unlock()
	return reach()
}

// reach prepares the named host to build: over the connection of h, where it builds for
// itself, else over one of its own, since its own deployment may close that.
func (r *run) reach(ctx context.Context, h *hostRun, name string) (*place, error) {
	p := &place{host: h}
	if name != h.Name {
		at := slices.IndexFunc(r.Builders, func(b hosts.Host) bool { return b.Name == name })
		if at < 0 {
			return nil, fmt.Errorf("deploy.toml has no host %q", name)
		}
		p.host = newHostRun(r, r.Builders[at])
		conn, a, err := p.host.connect(ctx, agent.AskFacts(protocol.FactsRequest{Profile: profiles.System, LookOnly: true}, &p.host.facts))
		if err != nil {
			return nil, p.host.connectionFailure("connect", err)
		}
		p.host.use(conn, a)
		if err := p.host.notOurs(p.host.facts); err != nil {
			return nil, err
		}
	}
	// The relay ends with the run, not with the context of the first who needs it.
	var err error
	p.relay, err = relay.StartIn(context.WithoutCancel(ctx), r.TempDir, func(ctx context.Context) (net.Conn, error) { return p.host.dialDaemon(ctx) })
	if err != nil {
		return nil, err
	}
	r.onClose(func() { p.relay.Close() })
	p.store = nix.Store{URI: p.relay.StoreURI(), Settings: p.host.nixSettings(ctx)}
	return p, nil
}

// nixSettings are what the host's own Nix builds and fetches with. An older agent cannot
// tell; then its daemon takes the settings of this machine, if it trusts the login.
func (h *hostRun) nixSettings(ctx context.Context) map[string]string {
	limited, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	settings, err := h.agent.NixSettings(limited)
	if err != nil {
		h.run.Log.Info().Str("host", h.Name).Err(err).Msg("the settings of the host's nix are not known")
	}
	return settings
}

// source is the place's store as one to copy from.
func (p *place) source(join Join) (string, error) {
	program, err := p.relay.Link(join.Program)
	if err != nil {
		return "", err
	}
	return nix.Through(program, join.Command, p.relay.Socket())
}

// buildElsewhere builds what is not built here, for each host in a call of its own: the
// daemon of a place that builds for several sees to it that nothing is built twice.
func (r *run) buildElsewhere(ctx context.Context, list []*hostRun) {
	everyHost(list, atOnce, func(h *hostRun) { h.fail(h.buildElsewhere(ctx)) })
}

// buildElsewhere builds the closure where the host wants it, keeps it there from being
// collected, and learns what must be known of it here.
func (h *hostRun) buildElsewhere(ctx context.Context) (err error) {
	done := h.phase(event.Build)
	where := h.elsewhere()
	defer func() { done("on "+where, err) }()
	if h.place, err = h.run.places.of(ctx, h); err != nil {
		return h.placeFailure(where, err)
	}
	for range copyAttempts {
		if err = h.buildOnce(ctx); err == nil || !collected(err) || ctx.Err() != nil {
			break
		}
		// Derivations here, or the result there, went before anything kept them.
		if _, evalErr := h.run.evaluate(ctx, []*hostRun{h}); evalErr != nil {
			err = evalErr
			break
		}
	}
	if err != nil {
		return h.placeFailure(where, err)
	}
	return h.unwrapSystem()
}

func collected(err error) bool {
	var failed *nix.Error
	var said *protocol.Error
	return errors.As(err, &failed) && failed.Kind == nix.Collected || errors.As(err, &said) && said.Code == protocol.CodeMissing
}

func (h *hostRun) buildOnce(ctx context.Context) error {
	d := nix.Derivation{Host: h.key(), DrvPath: h.system.DrvPath, Output: h.system.Output}
	if err := h.run.nix.BuildIn(ctx, h.place.store, d, h.run.progress(h.Name, event.Build)); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, beginLimit)
	defer cancel()
	top, err := h.place.host.agent.Built(limited, protocol.BuiltRequest{
		Path: h.system.OutPath, For: h.key(), Unwrap: h.wrapped(),
	})
	if err != nil {
		return err
	}
	h.builtThere = &top
	h.sizes, err = h.run.nix.ClosureIn(ctx, h.place.store, h.system.OutPath)
	return err
}

// placeFailure names what kept a host from building for h.
func (h *hostRun) placeFailure(where string, err error) error {
	f := h.run.buildFailure(h.Name, err)
	var named *Failure
	var said *protocol.Error
	switch link := h.placeLink(); {
	case errors.As(err, &named):
		f.Cause, f.Next = named.Cause, named.Next
	case link != nil:
		f.Cause, f.Next, f.Log = fmt.Errorf("the connection was lost: %v", link), h.again(), nil
	case errors.As(err, &said):
		f.Next = "hdeploy status " + where
	}
	if where != h.Name {
		f.Cause = fmt.Errorf("on %s, which builds for it: %w", where, f.Cause)
	}
	return f
}

// placeLink is why the connection to the place ended, nil where it did not.
func (h *hostRun) placeLink() error {
	if h.place == nil {
		return nil
	}
	if err := h.place.host.conn.Err(); err != nil {
		return err
	}
	return h.place.relay.Err()
}

// askSigns says whether the user's Nix signs what it builds. Where it does not say, a
// copy asks for no signatures.
func (r *run) askSigns(ctx context.Context) bool {
	signs, err := r.nix.Signs(ctx)
	if err != nil {
		r.Log.Info().Err(err).Msg("it is not known whether nix signs")
	}
	return signs
}

// described is what must be known of the new system, wherever it was built.
func (h *hostRun) described() protocol.Toplevel {
	if h.builtThere != nil {
		return *h.builtThere
	}
	return closure.Read(h.system.OutPath)
}

// builtItself says that the host has built the closure, and needs no copy.
func (h *hostRun) builtItself() bool { return h.place != nil && h.place.host.Name == h.Name }

// bring makes the closure be on the host. What the host has built itself was collected
// there, if it is wanted again.
func (h *hostRun) bring(ctx context.Context) error {
	switch {
	case !h.builtItself():
		return h.copy(ctx)
	case h.brought:
		return h.buildElsewhere(ctx)
	}
	h.brought = true
	h.skip("built on the host", event.Copy)
	return nil
}

// transfer copies the closure to the store, and gives up what only helps when that
// fails. What the host's caches cannot give comes from here, and where the host trusts
// the login but no key that signed, that trust decides as it does without any key.
func (h *hostRun) transfer(ctx context.Context, to string) error {
	t := nix.Transfer{To: nix.Store{URI: to}, Paths: []string{h.system.OutPath}, Sizes: h.sizes, Substitute: h.Substitute, CheckSignatures: h.run.signs()}
	if t.Substitute {
		t.To.Settings = h.nixSettings(ctx)
	}
	if h.place != nil {
		var err error
		if t.From, err = h.place.source(h.run.Join); err != nil {
			return err
		}
	}
	err := h.run.nix.Copy(ctx, t, h.copying())
	var failed *nix.Error
	if t.Substitute && errors.As(err, &failed) && failed.Kind != nix.DiskFull && failed.Kind != nix.Untrusted && h.conn.Err() == nil && ctx.Err() == nil {
		h.note("warning", "the host could not fetch from its caches, so that everything is copied: %s", failed.Cause)
		t.Substitute = false
		err = h.run.nix.Copy(ctx, t, h.copying())
	}
	if t.CheckSignatures && errors.As(err, &failed) && failed.Kind == nix.Untrusted && ctx.Err() == nil {
		t.CheckSignatures = false
		if unchecked := h.run.nix.Copy(ctx, t, h.copying()); unchecked == nil {
			h.note("warning", "the host trusts the login, and no key that signed what was copied: %s; add the public key of secret-key-files to nix.settings.trusted-public-keys of the host", failed.Cause)
			return nil
		}
	}
	return err
}
