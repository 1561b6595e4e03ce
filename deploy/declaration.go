package deploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/deploy/nix"
	"github.com/hbohlen/hdeploy/profiles/probe"
)

// The unit of OpNix, and the name that is often taken for it: no OpNix has a unit
// that is called like its option.
const (
	opnixUnit   = "opnix-secrets.service"
	mistakenFor = "onepassword-secrets.service"
)

// declaration is a configuration, judged without a host.
type declaration struct {
	expected nix.Expectations
	// declared is nil where it is not known.
	declared *nix.Declared
	// built is the folder of the new system's units, empty where it is not built.
	built string
}

func (d declaration) findings() []event.Finding {
	var all []event.Finding
	if d.opnix() {
		all = append(all, d.opnixUnit()...)
		all = append(all, d.deadlock()...)
		all = append(all, d.owners()...)
		all = append(all, d.consumers()...)
		all = append(all, d.agentFiles()...)
		all = append(all, d.login()...)
	}
	return append(all, d.dangling()...)
}

func (d declaration) opnix() bool {
	o := d.expected.Services.OnePassword
	return o != nil && o.Enable
}

// secretNames are in order.
func (d declaration) secretNames() []string {
	return slices.Sorted(maps.Keys(d.expected.Services.OnePassword.Secrets))
}

func (d declaration) secret(name string) nix.Secret {
	return d.expected.Services.OnePassword.Secrets[name]
}

func obstacle(name, remedy, format string, args ...any) event.Finding {
	return event.Finding{Name: name, Severity: event.Obstacle, Cause: fmt.Sprintf(format, args...), Remedy: remedy}
}

func warning(name, remedy, format string, args ...any) event.Finding {
	return event.Finding{Name: name, Severity: event.Warning, Cause: fmt.Sprintf(format, args...), Remedy: remedy}
}

func (d declaration) opnixUnit() []event.Finding {
	for _, unit := range []string{opnixUnit, mistakenFor} {
		if slices.Contains(d.expected.Units, strings.TrimSuffix(unit, ".service")) {
			return nil
		}
	}
	return []event.Finding{obstacle("opnix unit", "import opnix.nixosModules.default, of OpNix 0.7 or later",
		"OpNix is enabled, but the configuration has no unit %s: nothing fetches the secrets", opnixUnit)}
}

// deadlock warns of an OpNix that waits for the restart of services which are
// ordered after it.
func (d declaration) deadlock() []event.Finding {
	if d.declared == nil || d.declared.OpNix == nil || !d.declared.OpNix.Old() {
		return nil
	}
	version := "an OpNix older than 0.10.1"
	if v := d.declared.OpNix.Version; v != "" {
		version = "OpNix " + v
	}
	var waiting []string
	for _, name := range d.secretNames() {
		if len(d.secret(name).Services) > 0 {
			waiting = append(waiting, name)
		}
	}
	if len(waiting) == 0 {
		return nil
	}
	return []event.Finding{obstacle("opnix version", "nix flake update opnix  # to 0.10.1 or later; or remove services from the secrets",
		"%s restarts services and waits for them, while they wait for it: an activation hangs as soon as one of these secrets changes: %s", version, strings.Join(waiting, ", "))}
}

// owners are looked up by OpNix before it fetches anything.
func (d declaration) owners() []event.Finding {
	if d.declared == nil {
		return nil
	}
	var all []event.Finding
	for _, kind := range []struct {
		what, option string
		known        []string
		of           func(nix.Secret) string
	}{
		{"user", "users.users", d.declared.Users, func(s nix.Secret) string { return s.Owner }},
		{"group", "users.groups", d.declared.Groups, func(s nix.Secret) string { return s.Group }},
	} {
		unknown := map[string][]string{}
		for _, secret := range d.secretNames() {
			name := kind.of(d.secret(secret))
			_, notNumber := strconv.ParseUint(name, 10, 32)
			if kind.known != nil && name != "" && notNumber != nil && !slices.Contains(kind.known, name) {
				unknown[name] = append(unknown[name], secret)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(unknown)) {
			all = append(all, obstacle("owner", "declare "+kind.option+"."+name+"; a service with DynamicUser has no static one",
				"there is no %s %s, to whom these secrets are to belong: %s; for one unknown name OpNix fetches no secret at all", kind.what, name, strings.Join(unknown[name], ", ")))
		}
	}
	return all
}

// consumers must be services that exist.
func (d declaration) consumers() []event.Finding {
	if d.declared == nil {
		return nil
	}
	var all []event.Finding
	for _, secret := range d.secretNames() {
		for _, service := range d.secret(secret).Services {
			unit := strings.TrimSuffix(service, ".service") + ".service"
			if !slices.ContainsFunc(d.declared.Relations, func(r nix.Relations) bool { return r.Unit == unit }) {
				all = append(all, obstacle("consumer", "correct services.onepassword-secrets.secrets."+secret+".services",
					"secret %s is for %s, which the configuration does not define", secret, unit))
			}
		}
	}
	return all
}

// agentFiles says which files of the Hercules CI agent no secret is written to.
func (d declaration) agentFiles() []event.Finding {
	agent := d.expected.Services.HerculesCI
	if agent == nil || !agent.Enable {
		return nil
	}
	var all []event.Finding
	for _, file := range []struct{ setting, path string }{
		{"clusterJoinTokenPath", agent.Settings.ClusterJoinTokenPath}, {"binaryCachesPath", agent.Settings.BinaryCachesPath},
		{"secretsJsonPath", agent.Settings.SecretsJSONPath},
	} {
		written := slices.ContainsFunc(d.secretNames(), func(name string) bool { return filepath.Clean(d.secret(name).Path) == filepath.Clean(file.path) })
		switch {
		case file.path == "" || written:
		case file.setting == "secretsJsonPath":
			all = append(all, event.Finding{Name: "agent files", Severity: event.Remark,
				Cause: "no OpNix secret is written to " + file.path + ": effects have no secrets unless somebody puts the file there"})
		default:
			all = append(all, warning("agent files", "give one secret of services.onepassword-secrets.secrets path = \""+file.path+"\"",
				"the Hercules CI agent reads its %s from %s, and no OpNix secret is written there", file.setting, file.path))
		}
	}
	return all
}

// login warns of a host that only lets in who OpNix lets in.
func (d declaration) login() []event.Finding {
	if d.declared == nil || d.declared.LoginKeys == nil || *d.declared.LoginKeys > 0 || d.declared.Home == "" {
		return nil
	}
	keys := filepath.Join(d.declared.Home, ".ssh/authorized_keys")
	for _, name := range d.secretNames() {
		if filepath.Clean(d.secret(name).Path) == keys {
			return []event.Finding{warning("login keys", "add a key to users.users.NAME.openssh.authorizedKeys.keys",
				"the only keys to log in with are those of secret %s in %s: a wrong value locks everybody out, and going back to an older system does not bring the old file back", name, keys)}
		}
	}
	return nil
}

// dangling tells of units that are named and do not exist.
func (d declaration) dangling() []event.Finding {
	if d.declared == nil || d.declared.Units == nil {
		return nil
	}
	var all []event.Finding
	for _, r := range d.declared.Relations {
		needs := d.missing(r.Needs)
		for _, name := range needs {
			f := obstacle("dangling unit", "correct requires or bindsTo of "+r.Unit, "%s requires %s, which does not exist: it cannot be started", r.Unit, name)
			all = append(all, d.unlessPackaged(f))
		}
		for _, name := range d.missing(append(slices.Clone(r.Orders), r.Wants...)) {
			switch {
			case slices.Contains(needs, name):
			case name == mistakenFor && !slices.Contains(r.Orders, opnixUnit):
				all = append(all, obstacle("dangling unit", "write "+opnixUnit+" instead",
					"%s is to start after %s, which does not exist: it starts before its secrets are there; OpNix's unit is called %s", r.Unit, name, opnixUnit))
			case name == mistakenFor:
				all = append(all, warning("dangling unit", "write "+opnixUnit+" instead, or remove the line",
					"%s names %s, which does not exist; OpNix's unit is called %s, and it is ordered after that, too", r.Unit, name, opnixUnit))
			default:
				all = append(all, d.unlessPackaged(warning("dangling unit", "correct after or wants of "+r.Unit, "%s names %s, which does not exist", r.Unit, name)))
			}
		}
	}
	return all
}

// unlessPackaged weakens what is not certain before the system is built: packages
// bring units along that no option shows.
func (d declaration) unlessPackaged(f event.Finding) event.Finding {
	if d.built == "" {
		f.Severity = event.Warning
		f.Cause += ", unless a package brings it along (--build tells)"
	}
	return f
}

// missing are the services among names that do not exist. Targets and the like are
// systemd's own, mostly.
func (d declaration) missing(names []string) []string {
	var missing []string
	for _, name := range names {
		template := instance.ReplaceAllString(name, "@.")
		known := slices.ContainsFunc([]string{name, template}, func(n string) bool { return slices.Contains(d.declared.Units, n) || d.isBuilt(n) })
		if strings.HasSuffix(name, ".service") && !known && !slices.Contains(missing, name) && !strings.HasPrefix(name, "systemd-") {
			missing = append(missing, name)
		}
	}
	return missing
}

// instance is the part of a unit's name that its template does not have.
var instance = regexp.MustCompile(`@[^.]+\.`)

func (d declaration) isBuilt(unit string) bool {
	if d.built == "" || strings.ContainsRune(unit, '/') {
		return false
	}
	_, err := os.Lstat(filepath.Join(d.built, unit))
	return err == nil
}

// notConfigured names the service that a preset asks for and the configuration does
// not enable; empty for all other probes.
func notConfigured(s probe.Spec) string {
	switch ask := s.Ask.(type) {
	case *probe.OnePasswordSpec:
		if ask.NotConfigured {
			return probe.KindOnePassword
		}
	case *probe.HerculesSpec:
		if ask.NotConfigured {
			return probe.KindHercules
		}
	}
	return ""
}

// readExpectations reads what was evaluated of services; nil where nothing was.
func readExpectations(evaluated json.RawMessage) (*nix.Expectations, error) {
	if len(evaluated) == 0 {
		return nil, nil
	}
	var e nix.Expectations
	if err := json.Unmarshal(evaluated, &e); err != nil {
		return nil, fmt.Errorf("read what the configuration expects: %v", err)
	}
	return &e, nil
}

// lockFindings tells what the lock file lacks.
func lockFindings(flake string, inputs nix.Inputs, err error) []event.Finding {
	const name = "lock file"
	update := "nix flake lock " + flake
	if err != nil {
		return []event.Finding{warning(name, "nix flake metadata "+flake, "flake.nix and flake.lock could not be compared: %s", flakeCause(err))}
	}
	var all []event.Finding
	switch {
	case inputs.NoLock:
		all = append(all, obstacle(name, update, "there is no flake.lock (perhaps Git does not track it): what is deployed depends on the day. Inputs: %s", strings.Join(inputs.Unlocked, ", ")))
	case len(inputs.Unlocked) > 0:
		all = append(all, obstacle(name, update, "flake.lock lacks inputs of flake.nix: %s; what is deployed depends on the day, and CI cannot evaluate it", strings.Join(inputs.Unlocked, ", ")))
	}
	if len(inputs.Dangling) > 0 {
		all = append(all, obstacle(name, update, "flake.lock names nodes that it does not have, for the inputs %s", strings.Join(inputs.Dangling, ", ")))
	}
	if len(inputs.Stale) > 0 {
		all = append(all, event.Finding{Name: name, Severity: event.Remark, Remedy: update, Cause: "flake.lock has what is no input any more: " + strings.Join(inputs.Stale, ", ")})
	}
	return all
}
