package hosts

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/hosts/sshconfig"
)

// FileName is the name that [Find] looks for.
const FileName = "deploy.toml"

// mostBytes caps the file: a hundred hosts with all settings fit into a tenth.
const mostBytes = 1 << 20

// Find returns the path of the deploy.toml in dir or in the nearest folder
// above it that has one. Its error satisfies errors.Is(err, fs.ErrNotExist)
// and shows how to write one.
func Find(dir string) (string, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find %s: %v", FileName, err)
	}
	for folder := absolute; ; folder = filepath.Dir(folder) {
		path := filepath.Join(folder, FileName)
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			return path, nil
		}
		if folder == filepath.Dir(folder) {
			return "", &notFoundError{folder: absolute}
		}
	}
}

type notFoundError struct{ folder string }

func (e *notFoundError) Error() string {
	return fmt.Sprintf(`find %s: there is none in %s or above it; write one beside flake.nix, for instance:

    [hosts.web1]
    address   = "web1.example.org"
    host_keys = ["ssh-ed25519 AAAA..."]`, FileName, e.folder)
}

func (e *notFoundError) Is(target error) bool { return target == os.ErrNotExist }

// Load reads and validates a deploy.toml. What is wrong inside it is reported
// as [ConfigErrors], all of it at once. kinds are those that probes can have.
func Load(path string, kinds Kinds) (*Inventory, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %v", path, err)
	}
	document, err := readCapped(absolute)
	if err != nil {
		return nil, ConfigErrors{{File: path, Message: "read it: " + err.Error()}}
	}
	return decode(path, absolute, document, kinds)
}

func readCapped(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	document, err := io.ReadAll(io.LimitReader(file, mostBytes+1))
	if err != nil {
		return nil, err
	}
	if len(document) > mostBytes {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, mostBytes)
	}
	return document, nil
}

// decode turns a document into an inventory; file is its name in messages.
func decode(file, absolute string, document []byte, kinds Kinds) (*Inventory, error) {
	root, fault := parse(file, document)
	if fault != nil {
		return nil, ConfigErrors{fault}
	}
	d := &decoder{file: file, folder: filepath.Dir(absolute), kinds: kinds}
	inv := &Inventory{Path: absolute, Flake: "."}
	top := d.section("the file", root)
	top.text("flake", &inv.Flake, checkFlake)
	inv.Flake = d.absoluteFlake(inv.Flake)
	defaults := d.defaults(top)
	inv.Probes = d.probes(top)
	jumps := d.jumps(top)
	options := map[string][]sshconfig.Option{}
	inv.Hosts = d.hosts(top, defaults, inv.Probes, jumps, options)
	d.applySSHConfig(top, inv, jumps, options)
	top.refuseUnknownKeys()
	if len(d.faults) > 0 {
		return nil, d.faults.sorted()
	}
	return inv, nil
}

// absoluteFlake anchors a relative path at the folder of the file, so that it
// means the same wherever hdeploy is started.
func (d *decoder) absoluteFlake(flake string) string {
	scheme, rest := "", flake
	for _, prefix := range []string{"path:", "git+file:"} {
		if after, ok := strings.CutPrefix(flake, prefix); ok {
			scheme, rest = prefix, after
		}
	}
	path, query, _ := strings.Cut(rest, "?")
	if path != "." && path != ".." && !strings.HasPrefix(path, "./") && !strings.HasPrefix(path, "../") {
		return flake
	}
	path = scheme + filepath.Join(d.folder, path)
	if query != "" {
		path += "?" + query
	}
	return path
}

// settings are what [defaults] and a host have in common. Names are resolved
// only when everything was read, because their tables may stand anywhere.
type settings struct {
	Host
	elevated bool // elevation was set, perhaps to nothing
	probes   []*node
	jump     []*node
	options  []sshconfig.Option
}

func (d *decoder) defaults(top *section) settings {
	base := settings{Host: NewHost("")}
	table := top.lookup("defaults", kindTable)
	if table == nil {
		return base
	}
	s := d.section("defaults", table)
	for _, own := range []string{"address", "attribute"} {
		if f := table.field(own); f != nil {
			d.fail(f.at, own+" into [hosts.NAME]", "%s differs from host to host and has no default", own)
		}
	}
	s.ignoreKeys("address", "attribute")
	s.settings(&base)
	s.refuseUnknownKeys()
	return base
}

func (s *section) settings(into *settings) {
	s.login(&into.Port, &into.User, &into.HostKeys, &into.IdentityFiles)
	s.elevation(into)
	s.set("tags", &into.Tags, checkName)
	if probes, ok := s.distinct("probes", checkName); ok {
		into.probes = probes
	}
	if jump, ok := s.distinct("jump", checkName); ok {
		into.jump = jump
	}
	if table := s.lookup("timeouts", kindTable); table != nil {
		s.d.timeouts(s.where, table, &into.Timeouts)
	}
	s.lastWords(into)
	s.sshOptions(into)
}

// lastWords reads what happens where a switch, or the way back from it, cannot be
// made.
func (s *section) lastWords(into *settings) {
	word := ""
	if s.oneOf("when_reboot_needed", &word, "refuse", "boot") && word != "" {
		into.OrBoot = word == "boot"
	}
	s.oneOf("last_resort", &into.LastResort, "none", "reboot")
}

// login reads what a host and a jump host have in common.
func (s *section) login(port *int, user *string, hostKeys, identityFiles *[]string) {
	s.integer("port", port, 1, 65535)
	s.text("user", user, checkAccount)
	if items, ok := s.distinct("host_keys", checkHostKey); ok {
		*hostKeys = nil
		for _, item := range items {
			*hostKeys = append(*hostKeys, normalKey(item.text))
		}
	}
	var files []string
	s.set("identity_files", &files, checkWord)
	if files != nil {
		*identityFiles = s.d.absolutePaths(files)
	}
}

// absolutePaths expands ~/ and anchors relative paths at the folder of the file.
func (d *decoder) absolutePaths(paths []string) []string {
	absolute := make([]string, len(paths))
	for i, path := range paths {
		if rest, ok := strings.CutPrefix(path, "~/"); ok {
			if home, err := os.UserHomeDir(); err == nil {
				path = filepath.Join(home, rest)
			}
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(d.folder, path)
		}
		absolute[i] = path
	}
	return absolute
}

// elevation reads "sudo", "doas", "none" or an argv.
func (s *section) elevation(into *settings) {
	f := s.table.field("elevation")
	if f != nil && f.value.kind == kindArray {
		into.elevated = s.strings("elevation", &into.Elevation, checkArgument) || into.elevated
		return
	}
	if f != nil && f.value.kind != kindString {
		s.ignoreKeys("elevation")
		s.wrongType(f.value, "elevation", "a word or a list", `elevation = "sudo"`)
		return
	}
	word := ""
	if !s.oneOf("elevation", &word, "sudo", "doas", "none") || word == "" {
		return
	}
	into.elevated = true
	into.Elevation = []string{word, "-n", "--"}
	if word == "none" {
		into.Elevation = nil
	}
}

func (d *decoder) timeouts(where string, table *node, into *Timeouts) {
	const least, most = time.Second, 24 * time.Hour
	s := d.section("timeouts of "+where, table)
	s.duration("activation", &into.Activation, least, most)
	s.duration("confirm", &into.Confirm, least, most)
	s.duration("commit", &into.Commit, least, most)
	s.duration("rollback", &into.Rollback, least, most)
	s.duration("grace", &into.Grace, least, most)
	s.duration("reboot", &into.Reboot, least, most)
	s.duration("connect", &into.Connect, 100*time.Millisecond, 10*time.Minute)
	s.refuseUnknownKeys()
}

// each calls read for every well-named subtable of the top-level table key.
func (d *decoder) each(top *section, key string, read func(name string, table *node)) {
	tables := top.lookup(key, kindTable)
	if tables == nil {
		return
	}
	for _, f := range tables.fields {
		if message, _ := checkName(f.name); message != "" {
			d.fail(f.at, "", "name in [%s]: %s", key, message)
			continue
		}
		if f.value.kind != kindTable {
			d.fail(f.at, fmt.Sprintf("[%s.NAME] and below it %s = ...", key, f.name), "%q in [%s] must be a table, not %s", f.name, key, f.value.kind)
			continue
		}
		read(f.name, f.value)
	}
}

func (d *decoder) probes(top *section) map[string]Probe {
	probes := map[string]Probe{}
	d.each(top, "probes", func(name string, table *node) {
		probes[name] = d.probe(name, table)
	})
	return probes
}

func (d *decoder) jumps(top *section) map[string]Jump {
	jumps := map[string]Jump{}
	d.each(top, "jumps", func(name string, table *node) {
		s := d.section("jump host "+name, table)
		jump := Jump{Name: name, Address: name, Port: 22, User: "root"}
		s.text("address", &jump.Address, checkAddress)
		s.login(&jump.Port, &jump.User, &jump.HostKeys, &jump.IdentityFiles)
		s.refuseUnknownKeys()
		jumps[name] = jump
	})
	return jumps
}

func (d *decoder) hosts(top *section, defaults settings, probes map[string]Probe, jumps map[string]Jump, options map[string][]sshconfig.Option) []Host {
	var all []settings
	d.each(top, "hosts", func(name string, table *node) {
		all = append(all, d.host(name, table, defaults))
	})
	if top.table.field("hosts") == nil {
		d.fail(position{1, 1}, "[hosts.web1]", "the file names no host")
	}
	hosts := make([]Host, 0, len(all))
	resolver := resolver{d: d, defined: probes, jumps: jumps, hosts: all}
	for _, host := range all {
		resolver.resolve(&host)
		hosts = append(hosts, host.Host)
		options[host.Name] = host.options
	}
	return hosts
}

func (d *decoder) host(name string, table *node, defaults settings) settings {
	host := defaults
	host.Name, host.Address, host.Attribute = name, name, defaultAttribute(name)
	s := d.section("host "+name, table)
	s.text("address", &host.Address, checkAddress)
	s.text("attribute", &host.Attribute, checkAttribute)
	s.settings(&host)
	s.refuseUnknownKeys()
	if !host.elevated {
		host.Elevation = DefaultElevation(host.User)
	}
	host.Profiles = []Profile{host.system()}
	// The defaults are shared by all hosts; what a host holds is its own.
	host.HostKeys = slices.Clone(host.HostKeys)
	host.IdentityFiles = slices.Clone(host.IdentityFiles)
	host.Elevation = slices.Clone(host.Elevation)
	host.Tags = slices.Clone(host.Tags)
	return host
}
