package nix

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hbohlen/hdeploy/deploy/event"
)

// Attribute is where a flake keeps the system of a host.
type Attribute struct {
	// Host names the host in errors and in the result.
	Host string
	// Path is an attribute path in Nix's notation, for instance
	// nixosConfigurations.web1.config.system.build.toplevel. A name with a
	// dot in it stands in double quotes.
	Path string
	// Login is who logs in on the host. Where it is set, Evaluated.Declared is
	// asked for.
	Login string
	// Unwrap says that the path leads to a system, which deploy-rs may have wrapped.
	Unwrap bool
}

// Evaluated is what is known of a host's new system before it is built.
type Evaluated struct {
	// DrvPath is the store path of the derivation, which now exists in the
	// store, though nothing keeps a garbage collection from it yet.
	DrvPath string
	// Output is the name of the wanted output, nearly always "out".
	Output string
	// OutPath is the store path that the build will make.
	OutPath string
	// Wrapper is the store path of deploy-rs's wrapper, where Attribute.Path led to one
	// in deploy.nodes; empty otherwise. It is what DrvPath makes. OutPath is then the
	// toplevel within it, or the wrapper again where the configuration behind it was
	// not found.
	Wrapper string
	// System is for instance "x86_64-linux".
	System string
	// HostName is networking.hostName; empty where the attribute path leads
	// past no NixOS configuration.
	HostName string
	// Expectations is what the configuration says about the services that
	// hdeploy has probes for; nil where there is no configuration. See
	// [Expectations] for its form.
	Expectations json.RawMessage
	// Declared is nil where it was not asked for, and where there is no
	// configuration.
	Declared *Declared
}

// Expectations is the form of Evaluated.Expectations. A service whose option
// does not exist is nil; of a disabled one only Enable is read.
type Expectations struct {
	Services struct {
		OnePassword *struct {
			Enable    bool              `json:"enable"`
			TokenFile string            `json:"tokenFile"`
			Secrets   map[string]Secret `json:"secrets"`
			// Services are units that wait for all secrets.
			Services []string `json:"services"`
			// Version is that of OpNix's package, empty where it cannot be told.
			Version string `json:"version"`
			// ConfigFiles is how many files declare further secrets.
			ConfigFiles int `json:"configFiles"`
		} `json:"onepassword-secrets"`
		HerculesCI *struct {
			Enable   bool `json:"enable"`
			Settings struct {
				BaseDirectory        string `json:"baseDirectory"`
				ClusterJoinTokenPath string `json:"clusterJoinTokenPath"`
				BinaryCachesPath     string `json:"binaryCachesPath"`
				APIBaseURL           string `json:"apiBaseUrl"`
				SecretsJSONPath      string `json:"secretsJsonPath"`
			} `json:"settings"`
			// HostName is the host's, RestartSec the unit's pause before a restart as
			// the configuration has it.
			HostName   string `json:"hostName"`
			RestartSec string `json:"restartSec"`
		} `json:"hercules-ci-agent"`
	} `json:"services"`
	// Units are those of opnix-secrets, onepassword-secrets and
	// hercules-ci-agent that the configuration defines, without ".service".
	Units []string `json:"units"`
}

// Secret is a file that OpNix is expected to write. Path is always set; Owner,
// Group and Mode are empty where the option does not exist.
type Secret struct {
	Path  string `json:"path"`
	Owner string `json:"owner"`
	Group string `json:"group"`
	Mode  string `json:"mode"`
	// Services are the units that are restarted when the secret changes.
	Services []string `json:"services"`
	// Symlinks lead to the file.
	Symlinks []string `json:"symlinks"`
}

// hostsPerCall bounds the memory of one evaluation, which keeps every
// configuration that it has seen: some hundred megabytes each.
const hostsPerCall = 32

//go:embed evaluate.nix
var evaluateNix string

//go:embed expectations.nix
var expectationsNix string

// Evaluate evaluates the systems of all hosts, in one nix process for up to 32
// of them. The flake is an absolute path or a flake URL, without a fragment.
// The errors are [*UnknownAttributeError] (joined, if several), [*TooOldError],
// [*Error] or the context's.
func (n *Nix) Evaluate(ctx context.Context, flake string, hosts []Attribute, on func(Progress)) (map[string]Evaluated, error) {
	if err := checkFlake(flake); err != nil {
		return nil, err
	}
	wanted, err := parseAttributes(hosts)
	if err != nil {
		return nil, err
	}
	result := make(map[string]Evaluated, len(wanted))
	for batch := range slices.Chunk(wanted, hostsPerCall) {
		e := evaluation{nix: n, flake: flake, on: on, total: len(wanted), done: len(result)}
		answer, err := e.ask(ctx, batch)
		if err != nil {
			return nil, err
		}
		if err := answer.into(result, batch); err != nil {
			return nil, err
		}
	}
	return result, nil
}

// checkFlake refuses what nix would read as something else than a flake.
func checkFlake(flake string) error {
	switch {
	case flake == "":
		return errors.New("evaluate: the flake is empty")
	case strings.HasPrefix(flake, "-"):
		return fmt.Errorf("evaluate: the flake %q looks like an option", flake)
	case strings.ContainsRune(flake, '#'):
		return fmt.Errorf("evaluate: the flake %q has a fragment; name the attribute in the host's settings", flake)
	case clean(flake, len(flake)) != flake || strings.ContainsRune(flake, '\n'):
		return fmt.Errorf("evaluate: the flake %q contains control characters", flake)
	}
	return nil
}

// wanted is a host with its attribute path in parts.
type wanted struct {
	host, attribute, login string
	path                   []string
	// configEnd is the length of the path up to and with "config", or 0.
	configEnd int
	// node is the name of the node whose profile it is, in deploy.nodes.
	node string
}

func parseAttributes(hosts []Attribute) ([]wanted, error) {
	list := make([]wanted, 0, len(hosts))
	seen := make(map[string]bool, len(hosts))
	for _, h := range hosts {
		path, err := splitAttribute(h.Path)
		if err != nil {
			return nil, fmt.Errorf("evaluate %s: %w", h.Host, err)
		}
		if seen[h.Host] {
			return nil, fmt.Errorf("evaluate %s: the host is wanted twice", h.Host)
		}
		seen[h.Host] = true
		one := wanted{host: h.Host, attribute: h.Path, login: h.Login, path: path, configEnd: slices.Index(path, "config") + 1}
		if h.Unwrap {
			one.node = nodeOf(path)
		}
		list = append(list, one)
	}
	return list, nil
}

// nodeOf is the node of a path like deploy.nodes.NODE.profiles.PROFILE.path, and empty
// for every other path.
func nodeOf(path []string) string {
	if len(path) == 6 && path[0] == "deploy" && path[1] == "nodes" && path[3] == "profiles" && path[5] == "path" {
		return path[2]
	}
	return ""
}

// splitAttribute cuts an attribute path at its dots, except those in quotes,
// as Nix's command line does.
func splitAttribute(path string) ([]string, error) {
	var parts []string
	var part strings.Builder
	quoted, wasQuoted := false, false
	end := func() error {
		if part.Len() == 0 && !wasQuoted {
			return fmt.Errorf("read the attribute path %q: a name is empty", path)
		}
		parts = append(parts, part.String())
		part.Reset()
		wasQuoted = false
		return nil
	}
	for _, r := range path {
		switch {
		case r == '"':
			quoted, wasQuoted = !quoted, true
		case r == '.' && !quoted:
			if err := end(); err != nil {
				return nil, err
			}
		case r == 0:
			return nil, fmt.Errorf("read the attribute path %q: it contains a NUL", path)
		default:
			part.WriteRune(r)
		}
	}
	if quoted {
		return nil, fmt.Errorf("read the attribute path %q: a quote is not closed", path)
	}
	if err := end(); err != nil {
		return nil, err
	}
	return parts, nil
}

// quote writes a Nix string. Every dollar is escaped, since "$${" and "${"
// mean different things, and a return is, since Nix reads "\r\n" as "\n".
func quote(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(text) + `"`
}

func quoteList(texts []string) string {
	quoted := make([]string, len(texts))
	for i, text := range texts {
		quoted[i] = quote(text)
	}
	return "[ " + strings.Join(quoted, " ") + " ]"
}

// expression is the function from the flake's outputs to the answer.
func expression(hosts []wanted) string {
	var list strings.Builder
	for _, h := range hosts {
		// A name that is missing before "config" is a wrong name; one that is
		// missing behind it is for the evaluation to complain about, as to
		// look there means to evaluate the host.
		place, config, node := h.path, "null", "null"
		if h.configEnd > 0 {
			place, config = h.path[:h.configEnd-1], quoteList(h.path[:h.configEnd])
		}
		if h.node != "" {
			node = quote(h.node)
		}
		login := "null"
		if h.login != "" {
			login = quote(h.login)
		}
		fmt.Fprintf(&list, "{ host = %s; attribute = %s; path = %s; place = %s; config = %s; login = %s; node = %s; }\n",
			quote(h.host), quote(h.attribute), quoteList(h.path), quoteList(place), config, login, node)
	}
	return fmt.Sprintf("(%s) (%s)\n[\n%s]", evaluateNix, expectationsNix, list.String())
}

// evaluation is one or several nix processes that answer for a batch of hosts.
type evaluation struct {
	nix         *Nix
	flake       string
	on          func(Progress)
	done, total int
}

// ask evaluates the hosts in one process. Only when that fails is the version
// of Nix asked for: one that is too old explains the failure, and 2.18 needs
// one call for each of the flake's outputs.
func (e *evaluation) ask(ctx context.Context, hosts []wanted) (*answer, error) {
	result, err := e.call(ctx, ".", expression(hosts), hosts)
	var failed *Error
	if !errors.As(err, &failed) {
		return result, err
	}
	version, versionErr := e.nix.Version(ctx)
	switch {
	case versionErr != nil:
		return nil, err
	case !version.Usable():
		return nil, &TooOldError{Have: version}
	case version.hasRootFragment():
		return nil, err
	}
	return e.askByOutput(ctx, hosts)
}

// askByOutput evaluates the hosts under each of the flake's outputs in a
// process of its own.
func (e *evaluation) askByOutput(ctx context.Context, hosts []wanted) (*answer, error) {
	byOutput := map[string][]wanted{}
	var outputs []string
	for _, h := range hosts {
		if byOutput[h.path[0]] == nil {
			outputs = append(outputs, h.path[0])
		}
		byOutput[h.path[0]] = append(byOutput[h.path[0]], h)
	}
	all := &answer{}
	for _, output := range outputs {
		function := fmt.Sprintf("value: (%s) { %s = value; }", expression(byOutput[output]), quote(output))
		part, err := e.call(ctx, `"`+output+`"`, function, byOutput[output])
		if err != nil {
			return nil, unknownOutput(err, byOutput[output])
		}
		all.Nix = part.Nix
		all.Hosts = append(all.Hosts, part.Hosts...)
		all.Missing = append(all.Missing, part.Missing...)
	}
	return all, nil
}

// unknownOutput makes the error of a flake that has not even the output.
func unknownOutput(err error, hosts []wanted) error {
	var failed *Error
	if !errors.As(err, &failed) || !strings.Contains(failed.Output, "does not provide attribute") {
		return err
	}
	var unknown []error
	for _, h := range hosts {
		unknown = append(unknown, &UnknownAttributeError{Host: h.host, Attribute: h.path[0]})
	}
	return errors.Join(unknown...)
}

func (e *evaluation) call(ctx context.Context, fragment, function string, hosts []wanted) (*answer, error) {
	t := newTracker(evaluating, e.on)
	current := ""
	t.remark = func(text string) bool {
		host, found := strings.CutPrefix(text, traceMark)
		if !found || !slices.ContainsFunc(hosts, func(h wanted) bool { return h.host == host }) {
			return false
		}
		current = host
		t.count = event.Progress{Done: int64(e.done), Total: int64(e.total), Unit: "hosts", Activity: host}
		e.done++
		return true
	}
	args := arguments("eval", "--json", e.flake+"#"+fragment, "--apply", function)
	output, err := e.nix.run(ctx, "evaluate", append(args, e.nix.Extra...), t)
	var failed *Error
	if errors.As(err, &failed) {
		failed.Host = current
	}
	if err != nil {
		return nil, err
	}
	var result answer
	if err := json.Unmarshal(output, &result); err != nil {
		return nil, &Error{Step: "evaluate", Cause: fmt.Sprintf("read the answer of nix: %v", err)}
	}
	return &result, nil
}

// traceMark precedes the name of a host in the trace that evaluate.nix prints
// when it comes to that host.
const traceMark = "trace: hdeploy evaluates "

// answer is what evaluate.nix returns.
type answer struct {
	Nix     string `json:"nix"`
	Missing []struct {
		Host string `json:"host"`
		Gap  struct {
			At        []string `json:"at"`
			Available []string `json:"available"`
		} `json:"gap"`
	} `json:"missing"`
	Hosts []struct {
		Host         string          `json:"host"`
		Derivation   string          `json:"derivation"`
		Output       string          `json:"output"`
		Out          string          `json:"out"`
		Wrapper      string          `json:"wrapper"`
		System       string          `json:"system"`
		HostName     string          `json:"hostName"`
		Expectations json.RawMessage `json:"expectations"`
		Declared     *Declared       `json:"declared"`
	} `json:"hosts"`
}

// into checks the answer and adds it to the result.
func (a *answer) into(result map[string]Evaluated, hosts []wanted) error {
	version, err := parseVersion(a.Nix)
	if err == nil && !version.Usable() {
		return &TooOldError{Have: Version{Text: "Nix " + version.Text, Major: version.Major, Minor: version.Minor}}
	}
	var unknown []error
	for _, m := range a.Missing {
		unknown = append(unknown, &UnknownAttributeError{
			Host: oneLine(m.Host, 200), Attribute: joinAttribute(m.Gap.At), Available: cleanNames(m.Gap.Available),
		})
	}
	if len(unknown) > 0 {
		return errors.Join(unknown...)
	}
	for _, h := range a.Hosts {
		if !isStorePath(h.Derivation) || !strings.HasSuffix(h.Derivation, ".drv") || !isStorePath(h.Out) || h.Wrapper != "" && !isStorePath(h.Wrapper) {
			return &Error{Step: "evaluate", Host: h.Host, Cause: fmt.Sprintf("read the answer of nix: %q and %q are not a derivation and its output", h.Derivation, h.Out)}
		}
		one := Evaluated{DrvPath: h.Derivation, Output: h.Output, OutPath: h.Out, Wrapper: h.Wrapper, System: h.System, HostName: h.HostName, Declared: h.Declared}
		if string(h.Expectations) != "null" {
			one.Expectations = h.Expectations
		}
		result[h.Host] = one
	}
	for _, h := range hosts {
		if _, ok := result[h.host]; !ok {
			return &Error{Step: "evaluate", Host: h.host, Cause: "read the answer of nix: the host is not in it"}
		}
	}
	return nil
}

// joinAttribute writes an attribute path in Nix's notation.
func joinAttribute(path []string) string {
	names := make([]string, len(path))
	for i, name := range path {
		names[i] = oneLine(name, 200)
		if name == "" || strings.ContainsAny(name, ". \"") {
			names[i] = `"` + names[i] + `"`
		}
	}
	return strings.Join(names, ".")
}

func cleanNames(names []string) []string {
	for i, name := range names {
		names[i] = oneLine(name, 200)
	}
	return names
}
