package nix

import (
	"path/filepath"
	"regexp"
	"strings"
)

// hashed is the name of a store path: its hash, in Nix's digits, and a name.
var hashed = regexp.MustCompile(`^[0-9abcdfghijklmnpqrsvwxyz]{32}-[0-9a-zA-Z+._?=-]{1,211}$`)

// StorePathOf returns the store path that an absolute path is, or lies within; empty
// where it is in no store. It looks at the text alone.
func StorePathOf(path string) string {
	for path = filepath.Clean(path); path != "/" && path != "."; path = filepath.Dir(path) {
		if hashed.MatchString(filepath.Base(path)) && isStorePath(path) && !strings.HasSuffix(path, ".drv") {
			return path
		}
	}
	return ""
}
