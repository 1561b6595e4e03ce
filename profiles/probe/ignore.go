package probe

import (
	"fmt"
	"path"

	"github.com/hbohlen/hdeploy/profiles/systemd"
)

func ignoreParam() Param {
	return Param{Name: "ignore", Type: Texts, Text: "units that may fail, by name or by a pattern such as \"foo-*.service\"; they are told and decide nothing"}
}

const mostIgnored = 256

func validIgnore(patterns []string) error {
	if len(patterns) > mostIgnored {
		return fmt.Errorf("ignore has more than %d patterns", mostIgnored)
	}
	for _, pattern := range patterns {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" || len(pattern) > longestArgument {
			return fmt.Errorf("ignore holds %q, which is no pattern of units' names", clean(pattern))
		}
	}
	return nil
}

// ignoredUnits are units that fail and may.
type ignoredUnits []systemd.Unit

// on tells them beside a finding.
func (i ignoredUnits) on(f finding) finding {
	for _, u := range i {
		f = f.note("ignored: " + describe(u))
	}
	return f
}

// sort tells the units that count from those that are ignored.
func (s *FailedUnitsSpec) sort(units []systemd.Unit) (bad []systemd.Unit, ignored ignoredUnits) {
	for _, u := range units {
		if matches(s.Ignore, u.ID) {
			ignored = append(ignored, u)
		} else {
			bad = append(bad, u)
		}
	}
	return bad, ignored
}

func matches(patterns []string, name string) bool {
	for _, pattern := range patterns {
		if ok, err := path.Match(pattern, name); ok && err == nil {
			return true
		}
	}
	return false
}

// Ignores says whether one of the probes was told that the unit may fail: then
// an activation that reports it as failed is no failure either.
func Ignores(specs []Spec, unit string) bool {
	for _, s := range specs {
		if ask, ok := s.Ask.(*FailedUnitsSpec); ok && matches(ask.Ignore, unit) {
			return true
		}
	}
	return false
}
