package probe

import "slices"

// Judged names the units that a preset among the specs judges by itself: their
// failure is its to explain, and its policy's to answer.
func Judged(specs []Spec) []string {
	var units []string
	for _, s := range specs {
		if k, ok := kindOf(s.Kind); ok && k.Preset && s.From == FromHost && s.Ask != nil {
			units = append(units, s.Ask.units()...)
		}
	}
	return units
}

// Split tells the specs that are about one of the units from all others; both keep
// their order.
func Split(specs []Spec, units []string) (about, others []Spec) {
	for _, s := range specs {
		of := s.Ask != nil && slices.ContainsFunc(s.Ask.units(), func(unit string) bool { return slices.Contains(units, unit) })
		if of {
			about = append(about, s)
		} else {
			others = append(others, s)
		}
	}
	return about, others
}
