package main

// automatic says that no person watches: a machine runs the command, or none of
// its streams is a terminal.
func automatic(s streams) bool {
	return inCI(s) || !s.InTTY && !s.OutTTY && !s.ErrTTY
}

// inCI says that a machine runs the command.
func inCI(s streams) bool {
	for _, name := range []string{"CI", "IN_HERCULES_CI_EFFECT"} {
		if v := s.env(name); v != "" && v != "false" && v != "0" {
			return true
		}
	}
	return false
}
