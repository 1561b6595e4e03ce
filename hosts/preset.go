package hosts

// Preset is the probe of a kind that needs no table; false where kinds has no such
// preset.
func Preset(name string, kinds Kinds) (Probe, bool) {
	kind, ok := kinds.named(name)
	if !ok || !kind.Preset {
		return Probe{}, false
	}
	return newProbe(name, kind), true
}

// Presets are the names that [Preset] knows.
func Presets(kinds Kinds) []string { return kinds.presets() }
