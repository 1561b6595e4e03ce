package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/profiles/program"
	"github.com/hbohlen/hdeploy/profiles/protocol"
)

// FuzzStartRequest lets a deployer ask for anything. What is begun stays below the
// store and has an end.
func FuzzStartRequest(f *testing.F) {
	f.Add([]byte(`{"id":"abcd1234","profile":"/nix/var/nix/profiles/system","new":"/nix/store/00000000000000000000000000000000-a","action":"switch","limits":{"activation":1,"confirm":1,"commit":1,"rollback":1,"grace":1}}`))
	f.Add([]byte(`{"id":"../x","new":"/nix/store/00000000000000000000000000000000-a/../../etc","probes":[{"name":"x","kind":"unit"}]}`))
	f.Add([]byte(alone(`{"question":{"users":["root","-x"],"outward":["https://hercules-ci.com:443"],"witness":"web2"},"on_unknown":"commit","restart_last":["hercules-ci-agent.service"]}`)))
	f.Fuzz(func(t *testing.T, params []byte) {
		_, _ = decoded(params, func(p protocol.StartRequest) (any, error) {
			if validStart(p) != nil {
				return nil, nil
			}
			if strings.ContainsAny(p.ID, "/.\x00") || filepath.Dir(p.New) != "/nix/store" || p.Limits.Total() <= 0 {
				t.Errorf("accepted: %+v", p)
			}
			if p.Alone != nil {
				for _, word := range slices.Concat(p.Alone.Question.Users, p.Alone.RestartLast, p.Alone.Question.Outward, []string{p.Alone.Question.Witness}) {
					if strings.HasPrefix(word, "-") || strings.ContainsAny(word, "\n\x00 */") != strings.HasPrefix(word, "https://") {
						t.Errorf("accepted to decide alone: %q", word)
					}
				}
			}
			return nil, nil
		})
	})
}

// FuzzProfileRequest lets a deployer name any profile. Its programs stay within the
// closure, and its name within its folder.
func FuzzProfileRequest(f *testing.F) {
	f.Add([]byte(`{"program":{"profile":"home","user":"ann","kind":"home-manager"},"method":"facts","params":{}}`))
	f.Add([]byte(`{"program":{"profile":"app","user":"root","kind":"custom","activate":["bin/../../x","-f"],"check":["/bin/sh"]},"link":"/etc"}`))
	f.Fuzz(func(t *testing.T, params []byte) {
		_, _ = decoded(params, func(p protocol.ProfileRequest) (any, error) {
			if program.Validate(p.Program) != nil {
				return nil, nil
			}
			if filepath.Base(p.Program.Profile) != p.Program.Profile || p.Program.Profile == ".." || strings.HasPrefix(p.Program.User, "-") {
				t.Errorf("accepted: %+v", p.Program)
			}
			for _, argv := range [][]string{p.Program.Activate, p.Program.Rollback, p.Program.Check} {
				if len(argv) > 0 && !strings.HasPrefix(filepath.Join("/closure", argv[0]), "/closure") {
					t.Errorf("a program outside of the closure: %q", argv)
				}
			}
			return nil, nil
		})
	})
}
