package sshconfig

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzLookup holds that every file ends in settings or in a refusal with its place, and
// that what it says of a host does not depend on how often it is asked.
func FuzzLookup(f *testing.F) {
	for _, c := range configurations {
		f.Add(c.text, c.host, c.user)
	}
	f.Fuzz(func(t *testing.T, text, host, user string) {
		if strings.Contains(lower(text), "include") {
			return // the files of this machine are no input
		}
		home := t.TempDir()
		path := filepath.Join(home, "ssh_config")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c := &Config{userFile: path, named: true, files: map[string]*file{}}
		c.local = local{user: "me", home: home, hostname: "here.example.org", uid: os.Getuid(), env: func(name string) (string, bool) { return name, name != "ABSENT" }}
		c.testOnlyExec = func(command string) (bool, error) { return len(command)%2 == 0, nil }
		query := Query{Host: host, User: user}
		first, err := c.Lookup(query)
		if err != nil {
			refused := (*Error)(nil)
			if !errors.As(err, &refused) || refused.File == "" || refused.Message == "" {
				t.Fatalf("a refusal without a place: %v", err)
			}
			return
		}
		if !validHost(first.HostName) || first.User != "" && first.User != user && !validUser(first.User) || first.Port < 0 || first.Port > 65535 {
			t.Fatalf("%+v", first)
		}
		if hops, err := c.Hops(first); err == nil && len(hops) > mostHops+1 {
			t.Fatalf("%d hops", len(hops))
		}
		// An address that was found is found again by its own name, unless a block is for it.
		if strings.ContainsAny(lower(text), "\x00") {
			return
		}
		again, err := c.Lookup(query)
		if err != nil || again.HostName != first.HostName || again.User != first.User || again.ProxyCommand != first.ProxyCommand {
			t.Fatalf("%+v, then %+v: %v", first, again, err)
		}
	})
}

// FuzzMatches holds a pattern's verdict against a plain recursive one.
func FuzzMatches(f *testing.F) {
	f.Add("web1", "w*?1")
	f.Add("aaaaaaaaaaaaaaaaaaaa", "*a*a*a*a*b")
	f.Add("", "**")
	f.Add("a*b", "a\\*b")
	f.Fuzz(func(t *testing.T, s, pattern string) {
		got := matches(s, pattern)
		if len(s) > 12 || len(pattern) > 12 {
			return // the plain way takes for ever
		}
		if want := plainly(s, pattern); got != want {
			t.Fatalf("%q and %q: %v, want %v", s, pattern, got, want)
		}
	})
}

func plainly(s, pattern string) bool {
	switch {
	case pattern == "":
		return s == ""
	case pattern[0] == '*':
		return plainly(s, pattern[1:]) || s != "" && plainly(s[1:], pattern)
	case s == "" || pattern[0] != '?' && pattern[0] != s[0]:
		return false
	}
	return plainly(s[1:], pattern[1:])
}

// FuzzParseHop holds that a hop that was read is read the same when it is written
// again.
func FuzzParseHop(f *testing.F) {
	for _, text := range []string{"a", "u@a:22", "ssh://u@a:22", "ssh://u%40x;y=z@a/", "[::1]:22", "u@[::1]", "@a", "a:", ":22", "ssh://", "u@v@a"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		hop, err := ParseHop(text)
		if err != nil {
			return
		}
		if !validHost(hop.Host) || hop.Port < 0 || hop.Port > 65535 {
			t.Fatalf("%q: %+v", text, hop)
		}
		if strings.ContainsAny(hop.Host, "[]/") || strings.HasPrefix(hop.User, "ssh://") {
			return // OpenSSH takes them, and nothing is called so
		}
		again, err := ParseHop(hopText(hop))
		if err != nil || again.Host != hop.Host || again.User != hop.User || again.Port != hop.Port {
			t.Fatalf("%q: %+v, then %+v: %v", text, hop, again, err)
		}
	})
}
