package probe

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
