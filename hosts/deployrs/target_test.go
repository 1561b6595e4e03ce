package deployrs

import (
	"strings"
	"testing"
	"unicode"
)

func TestTargetsAreThoseOfDeployRs(t *testing.T) {
	for word, want := range map[string]Target{
		".":                       {Flake: "."},
		".#":                      {Flake: "."},
		"#web1":                   {Flake: ".", Node: "web1"},
		".#web1":                  {Flake: ".", Node: "web1"},
		".#web1.system":           {Flake: ".", Node: "web1", Profile: "system"},
		`.#"web1.example.org"`:    {Flake: ".", Node: "web1.example.org"},
		`.#"web1.example.org".a`:  {Flake: ".", Node: "web1.example.org", Profile: "a"},
		`.#web1."a \"b\" \\ c"`:   {Flake: ".", Node: "web1", Profile: `a "b" \ c`},
		"..#web1":                 {Flake: "..", Node: "web1"},
		"./infra#web1.system":     {Flake: "./infra", Node: "web1", Profile: "system"},
		"/etc/nixos":              {Flake: "/etc/nixos"},
		"github:me/infra#web1":    {Flake: "github:me/infra", Node: "web1"},
		"git+ssh://a/b?dir=c#d.e": {Flake: "git+ssh://a/b?dir=c", Node: "d", Profile: "e"},
		"web1":                    {Node: "web1", Word: "web1"},
		"web1.system":             {Node: "web1", Profile: "system", Word: "web1.system"},
		"web1.example.org":        {Node: "web1.example.org", Word: "web1.example.org"},
	} {
		if got, err := ParseTarget(word); err != nil || got != want {
			t.Errorf("%q is %+v (%v), want %+v", word, got, err, want)
		}
	}
}

func TestTargetsThatAreNone(t *testing.T) {
	for word, says := range map[string]string{
		".#a.b.c":                        "no third name",
		".#a..b":                         "a name is empty",
		".#.a":                           "a name is empty",
		".#a.":                           "a name is empty",
		`.#"`:                            "a quote is not closed",
		`.#"a`:                           "a quote is not closed",
		`.#""`:                           "a name is empty",
		`.#"a"b`:                         "a dot is missing",
		`.#a"b"`:                         "a dot is missing",
		".#${a}":                         "double quotes",
		".#a\nb":                         "no text of one line",
		".#" + strings.Repeat("a", 5000): "too long",
	} {
		if got, err := ParseTarget(word); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q is %+v (%v), want an error with %q", word, got, err, says)
		}
	}
}

func TestWordsThatNameAFlake(t *testing.T) {
	for word, want := range map[string]bool{
		"web1": false, "web1.example.org": false, "@web": false, ".": true, "..": true, ".#a": true, "./a": true, "nixpkgs#a": true,
		"github:a/b": true, "@a/b": false, "": false,
	} {
		if Names(word) != want {
			t.Errorf("%q names a flake: %v, want %v", word, !want, want)
		}
	}
}

// FuzzParseTarget holds that every word is a target or an error that a terminal can
// show, and that what was read is read again from its own notation.
func FuzzParseTarget(f *testing.F) {
	for _, seed := range []string{".", ".#a.b", `x#"a.b"."c\"d"`, "a.b.c", `#"`, "@t", "github:o/r#n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, word string) {
		target, err := ParseTarget(word)
		if err != nil {
			if strings.ContainsFunc(err.Error(), unicode.IsControl) {
				t.Errorf("%q", err)
			}
			return
		}
		if target.Flake == "" || target.Node == "" {
			return
		}
		escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
		again := target.Flake + `#"` + escape.Replace(target.Node) + `"`
		if target.Profile != "" {
			again += `."` + escape.Replace(target.Profile) + `"`
		}
		if got, err := ParseTarget(again); len(again) <= mostTargetBytes && (err != nil || got != target) {
			t.Errorf("%q is %+v, and written as %q %+v (%v)", word, target, again, got, err)
		}
	})
}
