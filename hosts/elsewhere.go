package hosts

import (
	"slices"
	"strings"
)

// calledElsewhere are the settings of deploy-rs, and of people who expect a setting of
// timeouts beside the others, without regard to case and dashes: with the key it belongs
// to here, and what to write.
var calledElsewhere = map[string]struct{ key, write string }{
	"hostname":          {"address", "address"},
	"sshuser":           {"user", "user"},
	"sshopts":           {"ssh_options", `ssh_options = { Port = "2222" }`},
	"sudo":              {"elevation", "elevation"},
	"interactivesudo":   {"elevation_password", `elevation_password = "ask"`},
	"fastconnection":    {"substitute", "substitute, which means the opposite"},
	"autorollback":      {"auto_rollback", "auto_rollback"},
	"magicrollback":     {"magic_rollback", "magic_rollback"},
	"confirmtimeout":    {"timeouts", "timeouts.confirm"},
	"activationtimeout": {"timeouts", "timeouts.activation"},
	"connecttimeout":    {"timeouts", "timeouts.connect"},
	"temppath":          {"temp_dir", "temp_dir"},
	"remotebuild":       {"build", `build = "host"`},
	"buildontarget":     {"build", `build = "host"`},
	"profilesorder":     {"profiles", "after, in the profiles that come later"},
	"groups":            {"tags", "tags"},
	"profilepath":       {"path", "path"},
	"targethost":        {"address", "address"},
	"targetuser":        {"user", "user"},
	"targetport":        {"port", "port"},
}

// meant guesses what a key that is not known was to be; empty where nothing is like it.
func (s *section) meant(name string) string {
	plain := strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(name))
	if other, ok := calledElsewhere[plain]; ok && slices.Contains(s.known, other.key) {
		return other.write
	}
	return closest(name, s.known)
}
