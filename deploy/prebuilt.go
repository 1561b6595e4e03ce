package deploy

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/hbohlen/hdeploy/deploy/nix"
	"github.com/hbohlen/hdeploy/profiles/closure"
)

// Prebuilt is a closure that is in the store of the machine here.
type Prebuilt struct {
	// Closure is its store path.
	Closure string
	// Manifest is what the configuration behind it says; nil where nobody knows. It is
	// what `lib.expectations` of hdeploy's flake makes.
	Manifest *nix.Manifest
	// File is where the manifest was read, for commands to type; empty for none.
	File string
	// Revision is the commit that it was built from, Branch the branch; both are claims.
	Revision, Branch string
}

// prebuilt is the closure that was given for the host's system, nil where the flake
// decides.
func (h *hostRun) prebuilt() *Prebuilt {
	if p, given := h.run.Prebuilt[h.Name]; given {
		return &p
	}
	return nil
}

// takePrebuilt puts the closures that were given in the place of an evaluation. One that
// cannot be deployed fails its host before that is contacted.
func (r *run) takePrebuilt(ctx context.Context, all []*hostRun) {
	for _, h := range all {
		if p := h.prebuilt(); p != nil {
			h.fail(h.take(ctx, p))
		}
	}
}

func (h *hostRun) take(ctx context.Context, p *Prebuilt) error {
	if h.of != nil {
		return refused(h.Name, "closure", "hdeploy "+h.run.command()+" "+h.Name, "the host has no NixOS system among its profiles, and a closure that is given is one")
	}
	sizes, err := h.run.nix.Closure(ctx, p.Closure)
	if err != nil {
		return h.notThere(ctx, p, err)
	}
	if !closure.Read(p.Closure).Switches {
		return refused(h.Name, "closure", "nix build .#"+h.Attribute,
			"%s is not a NixOS system: it has no bin/switch-to-configuration", p.Closure)
	}
	h.sizes = sizes
	h.system = nix.Evaluated{OutPath: p.Closure}
	if m := p.Manifest; m != nil {
		if m.Toplevel != p.Closure {
			return refused(h.Name, "closure", "make them of the configuration that the closure was built from: lib.expectations of hdeploy's flake",
				"the expectations are about another system: %s", m.Toplevel)
		}
		h.system.System, h.system.HostName, h.system.Expectations = m.System, m.HostName, m.Expectations
	} else if h.system.System, h.system.HostName, err = closure.Identity(p.Closure); err != nil {
		return refused(h.Name, "closure", "nix-store --verify-path "+p.Closure, "%v", err)
	}
	h.keepHere(ctx, p)
	return nil
}

// notThere tells a closure that is not in the store from a store that cannot be asked.
func (h *hostRun) notThere(ctx context.Context, p *Prebuilt, err error) error {
	var failed *nix.Error
	if ctx.Err() != nil || !errors.As(err, &failed) {
		return asFailure(h.Name, "closure", err)
	}
	f := refused(h.Name, "closure", "nix path-info "+p.Closure, "%v", err)
	quoteNix(f)
	if failed.Kind == nix.Collected {
		f.Cause = fmt.Errorf("%s is not in the store of this machine", p.Closure)
		f.Next = "nix copy --from URL " + p.Closure + "  # from the cache, or the machine, that has it\nnix build .#" + h.Attribute
	}
	if failed.Kind == nix.Unreachable {
		f.Next = "systemctl status nix-daemon.socket  # or correct NIX_REMOTE"
	}
	return f
}

// keepHere keeps the closure from being collected while it is copied, as a build would.
// In an effect its inputs do that, and there is no place for a root.
func (h *hostRun) keepHere(ctx context.Context, p *Prebuilt) {
	if h.run.Effect || h.run.DryRun {
		return
	}
	links, err := h.run.linkDir()
	if err == nil {
		err = h.run.nix.Keep(ctx, p.Closure, filepath.Join(links, "system"))
	}
	if err != nil {
		h.run.Log.Info().Str("host", h.Name).Err(err).Msg("nothing keeps the closure from being collected here")
	}
}

// revision is the commit that the system was built from, as far as it is known.
func (h *hostRun) revision(ctx context.Context) nix.Revision {
	if p := h.prebuilt(); p != nil {
		return nix.Revision{Commit: p.Revision}
	}
	return h.run.revision.get(ctx)
}

// ReadManifest reads the file that `lib.expectations` was written to.
func ReadManifest(path string) (*nix.Manifest, error) {
	data, err := readSmall(path, nix.MostManifestBytes)
	if err != nil {
		return nil, err
	}
	return nix.ParseManifest(data)
}
