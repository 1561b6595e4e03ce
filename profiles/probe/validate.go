package probe

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const (
	longestWindow   = time.Hour
	shortestPause   = 50 * time.Millisecond
	mostPasses      = 100
	mostSecrets     = 1024
	longestArgument = 4096
)

var (
	unitName  = regexp.MustCompile(`^[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]{0,248}\.(service|socket|target|mount|automount|swap|timer|path|slice|scope|device)$`)
	octalMode = regexp.MustCompile(`^[0-7]{3,5}$`)
)

// Validate says what is wrong with the spec, all of it at once.
func (s Spec) Validate() error {
	errs := []error{s.validateCommon(), s.validateWindows(), s.validateParameters()}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("probe %s: %w", clean(s.Name), err)
	}
	return nil
}

func (s Spec) validateCommon() error {
	var errs []error
	if s.Name == "" || len(s.Name) > 64 || strings.ContainsFunc(s.Name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		errs = append(errs, errors.New("name must be 1 to 64 printable bytes"))
	}
	if !slices.Contains(Kinds[:], s.Kind) {
		errs = append(errs, fmt.Errorf("unknown kind %q", s.Kind))
	}
	if s.From != FromHost && s.From != FromDeployer {
		errs = append(errs, fmt.Errorf("from must be host or deployer, not %q", s.From))
	}
	if s.From == FromDeployer && s.Kind != KindHTTP && s.Kind != KindTCP && s.Kind != KindCommand {
		errs = append(errs, fmt.Errorf("a probe of kind %s can only run on the host", s.Kind))
	}
	for key, policy := range map[string]string{"on_fail": s.OnFail, "on_unknown": s.OnUnknown} {
		if policy != Rollback && policy != Alert {
			errs = append(errs, fmt.Errorf("%s must be rollback or alert, not %q", key, policy))
		}
	}
	return errors.Join(errs...)
}

func (s Spec) validateWindows() error {
	var errs []error
	for _, w := range []struct {
		name  string
		value time.Duration
		least time.Duration
	}{
		{"settle", s.Settle, 0},
		{"deadline", s.Deadline, shortestPause},
		{"interval", s.Interval, shortestPause},
		{"soak", s.Soak, 0},
		{"timeout", s.Timeout, 0},
	} {
		if w.value < w.least || w.value > longestWindow {
			errs = append(errs, fmt.Errorf("%s must be from %s to %s, not %s", w.name, w.least, longestWindow, w.value))
		}
	}
	if s.Passes < 1 || s.Passes > mostPasses {
		errs = append(errs, fmt.Errorf("passes must be from 1 to %d, not %d", mostPasses, s.Passes))
	} else if time.Duration(s.Passes-1)*s.Interval >= s.Deadline && s.Passes > 1 {
		errs = append(errs, fmt.Errorf("%d passes %s apart do not fit into the deadline of %s", s.Passes, s.Interval, s.Deadline))
	}
	return errors.Join(errs...)
}

func (s Spec) validateParameters() error {
	given := map[Kind]bool{
		KindUnit: s.Unit != nil, KindHTTP: s.HTTP != nil, KindTCP: s.TCP != nil, KindCommand: s.Command != nil,
		KindOnePassword: s.OnePassword != nil, KindHercules: s.Hercules != nil,
	}
	for _, kind := range Kinds {
		if given[kind] && kind != s.Kind {
			return fmt.Errorf("parameters of kind %s on a probe of kind %s", kind, s.Kind)
		}
	}
	if needed, known := given[s.Kind]; known && !needed {
		return fmt.Errorf("no parameters of kind %s", s.Kind)
	}
	switch s.Kind {
	case KindUnit:
		return s.Unit.validate()
	case KindHTTP:
		return s.HTTP.validate()
	case KindTCP:
		return validAddress(s.TCP.Address)
	case KindCommand:
		return s.Command.validate()
	case KindOnePassword:
		return s.OnePassword.validate()
	case KindHercules:
		return s.Hercules.validate()
	}
	return nil
}

func (u UnitSpec) validate() error {
	if u.Active != "" && !slices.Contains([]string{"active", "reloading", "inactive", "failed", "activating", "deactivating", "maintenance"}, u.Active) {
		return fmt.Errorf("active must be a state of systemd, not %q", clean(u.Active))
	}
	if len(u.Sub) > 64 {
		return errors.New("sub must be at most 64 bytes")
	}
	return validUnit(u.Unit)
}

func (h HTTPSpec) validate() error {
	u, err := url.Parse(h.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("url must be an absolute http or https URL")
	}
	if u.User != nil {
		return errors.New("url must not hold a user name or password")
	}
	if h.Status != 0 && (h.Status < 100 || h.Status > 599) {
		return fmt.Errorf("status must be from 100 to 599, not %d", h.Status)
	}
	return validPattern("body", h.Body)
}

func (c CommandSpec) validate() error {
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		return errors.New("argv must name a program")
	}
	for _, arg := range c.Argv {
		if len(arg) > longestArgument || strings.ContainsRune(arg, 0) {
			return fmt.Errorf("an argument must be at most %d bytes without NUL", longestArgument)
		}
	}
	if c.ExitCode < 0 || c.ExitCode > 255 {
		return fmt.Errorf("exit_code must be from 0 to 255, not %d", c.ExitCode)
	}
	return validPattern("output", c.Output)
}

func (o OnePasswordSpec) validate() error {
	for _, u := range o.Units {
		if err := validUnit(u); err != nil {
			return err
		}
	}
	if err := validPath("token_file", o.TokenFile); err != nil {
		return err
	}
	if len(o.Secrets) > mostSecrets {
		return fmt.Errorf("more than %d secrets", mostSecrets)
	}
	for _, secret := range o.Secrets {
		if err := secret.validate(); err != nil {
			return fmt.Errorf("secret %s: %w", clean(secret.Name), err)
		}
	}
	return nil
}

func (s Secret) validate() error {
	if s.Path == "" {
		return errors.New("path is missing")
	}
	if err := validPath("path", s.Path); err != nil {
		return err
	}
	if s.Mode != "" && !octalMode.MatchString(s.Mode) {
		return fmt.Errorf("mode must be octal, not %q", s.Mode)
	}
	for _, service := range s.Services {
		if err := validUnit(asUnit(service)); err != nil {
			return err
		}
	}
	return nil
}

func (h HerculesSpec) validate() error {
	if h.Unit != "" {
		if err := validUnit(h.Unit); err != nil {
			return err
		}
	}
	if h.Quiet < 0 || h.Quiet > longestWindow {
		return fmt.Errorf("quiet must be from 0s to %s, not %s", longestWindow, h.Quiet)
	}
	for _, endpoint := range h.Endpoints {
		if err := validAddress(endpoint); err != nil {
			return err
		}
	}
	return errors.Join(validPath("base_directory", h.BaseDirectory), validPath("token_path", h.TokenPath), validPath("caches_path", h.CachesPath))
}

// validUnit refuses what systemctl would read as an option or a pattern.
func validUnit(name string) error {
	if !unitName.MatchString(name) {
		return fmt.Errorf("%q is not the name of a unit, with its suffix", clean(name))
	}
	return nil
}

// asUnit is the unit that a name stands for in NixOS options.
func asUnit(name string) string {
	if unitName.MatchString(name) {
		return name
	}
	return name + ".service"
}

func validPath(key, path string) error {
	if path != "" && (!filepath.IsAbs(path) || len(path) > longestArgument || strings.ContainsRune(path, 0)) {
		return fmt.Errorf("%s must be an absolute path, not %q", key, clean(path))
	}
	return nil
}

func validAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return fmt.Errorf("address must be host:port, not %q", clean(address))
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("port must be from 1 to 65535, not %q", clean(port))
	}
	return nil
}

func validPattern(key, pattern string) error {
	if len(pattern) > longestArgument {
		return fmt.Errorf("%s must be at most %d bytes", key, longestArgument)
	}
	if _, err := regexp.Compile(pattern); err != nil {
		return fmt.Errorf("%s is not a regular expression: %v", key, err)
	}
	return nil
}
