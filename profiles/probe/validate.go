package probe

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"reflect"
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

// Attainable says what could never pass within the windows that a person gave: an
// agent cannot be quiet for longer than it is looked at.
func (s Spec) Attainable() error {
	h, ok := s.Ask.(*HerculesSpec)
	if !ok || s.From != FromHost || h.Quiet < s.Settle+s.Deadline {
		return nil
	}
	return fmt.Errorf("probe %s: deadline of %s is too short for quiet of %s: make it longer, or quiet shorter", clean(s.Name), s.Deadline, h.Quiet)
}

func (s Spec) validateCommon() error {
	var errs []error
	if s.Name == "" || len(s.Name) > 64 || strings.ContainsFunc(s.Name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		errs = append(errs, errors.New("name must be 1 to 64 printable bytes"))
	}
	k, ok := kindOf(s.Kind)
	if !ok {
		errs = append(errs, fmt.Errorf("unknown kind %q", s.Kind))
	}
	if s.From != FromHost && s.From != FromDeployer {
		errs = append(errs, fmt.Errorf("from must be host or deployer, not %q", s.From))
	}
	if s.From == FromDeployer && ok && !slices.Contains(k.Vantages, s.From) {
		errs = append(errs, fmt.Errorf("a probe of kind %s can only run on the host", s.Kind))
	}
	for _, policy := range []struct {
		key, value string
		words      []string
	}{
		{"on_fail", s.OnFail, []string{Rollback, Alert}},
		{"on_unknown", s.OnUnknown, []string{Rollback, Alert, Retry}},
		{"after_rollback", s.AfterRollback, []string{Advisory, Required}},
	} {
		if !slices.Contains(policy.words, policy.value) {
			errs = append(errs, fmt.Errorf("%s must be one of %s, not %q", policy.key, strings.Join(policy.words, ", "), policy.value))
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

// validateParameters wants the parameters of the kind and no others.
func (s Spec) validateParameters() error {
	k, ok := kindOf(s.Kind)
	if !ok {
		return nil // said already
	}
	if s.Ask == nil {
		return fmt.Errorf("no parameters of kind %s", s.Kind)
	}
	if reflect.TypeOf(s.Ask) != reflect.TypeOf(k.question()) {
		return fmt.Errorf("parameters of another kind on a probe of kind %s", s.Kind)
	}
	return s.Ask.validate()
}

// ValidUnit says why name is none of a unit of systemd, with its suffix: systemctl would
// read others as an option or a pattern.
func ValidUnit(name string) error {
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

func validAddress(key, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return fmt.Errorf("%s must be host:port, not %q", key, clean(address))
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("%s must have a port from 1 to 65535, not %q", key, clean(port))
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

// about says what an error is about; nil stays nil.
func about(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
