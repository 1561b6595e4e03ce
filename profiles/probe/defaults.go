package probe

import "time"

// Defaults is a spec of the given kind with everything set that has a default;
// one of an unknown kind is refused by [Spec.Validate]. Failures roll back.
// Could-not-tell rolls back where only a broken host can be the reason, for the
// kinds that ask nothing but its systemd, and alerts elsewhere.
func Defaults(name Kind) Spec {
	s := Spec{
		Name: name, Kind: name, From: FromHost, OnFail: Rollback, OnUnknown: Alert, AfterRollback: Advisory,
		Deadline: 30 * time.Second, Interval: time.Second, Passes: 1, Timeout: 10 * time.Second,
	}
	k, ok := kindOf(name)
	if !ok {
		return s
	}
	s.Ask = k.question()
	if k.defaults != nil {
		k.defaults(&s)
	}
	return s
}
