package probe

import "github.com/hbohlen/hdeploy/profiles/systemd"

// ForNextBoot returns what of a baseline still means something after a reboot:
// which units there were and how they were. Jobs, invocations, counters and clocks
// begin anew.
func (b Baseline) ForNextBoot() Baseline {
	next := Baseline{Failed: b.Failed, ActiveTargets: b.ActiveTargets, Units: map[string]systemd.Unit{}}
	for name, u := range b.Units {
		next.Units[name] = systemd.Unit{ID: u.ID, Load: u.Load, Active: u.Active, Sub: u.Sub, Result: u.Result, Fragment: u.Fragment}
	}
	return next
}
