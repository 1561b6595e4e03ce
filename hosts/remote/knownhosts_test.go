package remote

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	testKey    = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHlgkyZtRJb5xgsf0IMxCsoiWZHQGEX8HcVLjMXJ6hS8"
	testRSAKey = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC6"
)

// What a line says of a name must be what OpenSSH reads in it: ssh-keygen -F finds
// the lines that stand for a name.
func TestNamesMatchAsForOpenSSH(t *testing.T) {
	names := []string{
		"web1", "web1.example.org", "[web1]:2222", "[web1.example.org]:2222", "web10", "10.0.0.1", "[10.0.0.1]:2222",
		"::1", "[::1]:2222", "fe80::1%eth0", "[fe80::1%eth0]:2222", "a*b", "web1,web2", "x",
	}
	patterns := []string{
		"web1", "Web1", "web1,web2", "web2,web1", "*", "?", "web?", "web*", "*.example.org", "*.org,!*.example.org", "!web1,*", "*,!web1",
		"[web1]:2222", "[*]:2222", "[web1]:*", "[*.example.org]:2222", "10.0.0.*", "10.0.0.1", "[10.0.0.1]:2222", "::1", "[::1]:2222",
		"fe80::1%eth0", "[fe80::1%eth0]:2222", "*web*1*", "**", "w*b1*.org", "!web1", ",web1", "web1,", "web1,,web2", "a\\*b", "[web1]", "web1:2222",
		hashed(t, "web1"), hashed(t, "[web1]:2222"), hashed(t, "WEB1"), hashed(t, "::1"), "|1|AAAA|AAAA", "|2|" + strings.TrimPrefix(hashed(t, "web1"), "|1|"), "|1|",
	}
	text := strings.Join(patterns, " "+testKey+"\n") + " " + testKey + "\n"
	file := writeKnown(t, text)
	for _, name := range names {
		want := keygenFinds(t, file, name)
		found, err := readKnownHosts(strings.NewReader(text), file, strings.ToLower(name))
		if err != nil {
			t.Fatal(err)
		}
		got := map[int]bool{}
		for _, key := range found.keys {
			got[key.line] = true
		}
		for i, pattern := range patterns {
			if got[i+1] != want[i+1] {
				t.Errorf("%q for %q: found is %v, ssh-keygen says %v", pattern, name, got[i+1], want[i+1])
			}
		}
	}
	t.Logf("known_hosts: %d names in %d patterns, compared with ssh-keygen", len(names), len(patterns))
}

func writeKnown(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// keygenFinds are the lines of a file that ssh-keygen -F finds for a name.
func keygenFinds(t *testing.T, file, name string) map[int]bool {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-F", name, "-f", file).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		t.Fatalf("ssh-keygen: %v: %s", err, out)
	}
	found := map[int]bool{}
	for line := range strings.Lines(string(out)) {
		if _, number, ok := strings.Cut(line, " found: line "); ok {
			var n int
			if _, err := fmt.Sscan(number, &n); err != nil {
				t.Fatalf("ssh-keygen says %q", line)
			}
			found[n] = true
		}
	}
	return found
}

// hashed returns a name as ssh-keygen -H writes it.
func hashed(t testing.TB, name string) string {
	t.Helper()
	file := writeKnown(t, name+" "+testKey+"\n")
	if out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-H", "-f", file).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen -H: %v: %s", err, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	field, _, _ := strings.Cut(string(text), " ")
	if !strings.HasPrefix(field, "|1|") {
		t.Fatalf("ssh-keygen did not hash %q", text)
	}
	return field
}

func TestReadKnownHosts(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"a key", "web1 " + testKey + " a comment", "keys 1"},
		{"blanks, tabs and the end of a line of another system", " \tweb1\t \t" + testKey + "\r", "keys 1"},
		{"comments and empty lines", "\n# web1 " + testKey + "\n\n", ""},
		{"all markers", "@revoked * " + testKey + "\n@cert-authority web1 " + testKey + "\nweb1 " + testKey, "keys 1, authorities 1, revoked 1"},
		{"revoked for somebody else", "@revoked web2 " + testKey, ""},
		{"a type of key that is not known", "web1 ssh-future AAAACnNzaC1mdXR1cmU=\nweb1 " + testKey, "keys 1"},
		{"the first version of the protocol", "web2 1024 35 1234567890", ""},
		{"nonsense for somebody else", "web2\nweb2 ssh-ed25519 ???\n@nonsense web2 " + testKey + "\nweb1 " + testKey, "keys 1"},
		{"nonsense for this host", "web2 " + testKey + "\nweb1 ssh-ed25519 ???", "error: file:2: it has no key"},
		{"half a key", "web1 " + testRSAKey, "error: file:1: "},
		{"a name alone", "web1", "error: file:1: it has no key"},
		{"another type than it names", "web1 ssh-rsa " + strings.Fields(testKey)[1], "error: file:1: its key is not of the type"},
		{"a revocation that cannot be read", "@revoked * ssh-future AAAACnNzaC1mdXR1cmU=", "error: file:1: a type of key that is not known"},
		{"an unknown marker", "@trusted web1 " + testKey, "error: file:1: unknown marker @trusted"},
		{"a marker alone", "@revoked", ""},
		{"a line without an end", "web1 " + strings.Repeat("A", longestLine), "error: file:1: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			found, err := readKnownHosts(strings.NewReader(c.text), "file", "web1")
			var said []string
			for _, part := range []struct {
				name string
				keys []knownKey
			}{{"keys", found.keys}, {"authorities", found.authorities}, {"revoked", found.revoked}} {
				if len(part.keys) > 0 {
					said = append(said, fmt.Sprintf("%s %d", part.name, len(part.keys)))
				}
			}
			got := strings.Join(said, ", ")
			if err != nil {
				got = "error: " + err.Error()
			}
			if err == nil && got != c.want || !strings.HasPrefix(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// A key is only found where its name is, nothing crashes, and what takes a name off a
// line leaves no trace of it.
func FuzzKnownHosts(f *testing.F) {
	for _, seed := range []string{
		"web1 " + testKey, "@cert-authority *.org,!web1 " + testKey, "@revoked * " + testKey, "|1|AAAA|AAAA " + testKey, "[web1]:22 x y", "@", "web1,web1 " + testKey,
	} {
		f.Add(seed, "web1")
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		name = strings.ToLower(name)
		found, err := readKnownHosts(strings.NewReader(text), "file", name)
		if err != nil {
			return
		}
		for _, key := range append(append(found.keys, found.authorities...), found.revoked...) {
			line := strings.Split(text, "\n")[key.line-1]
			parsed, ok := splitKnownLine(line)
			if !ok || !matchesName(parsed.names, name) {
				t.Fatalf("line %d of %q does not stand for %q", key.line, text, name)
			}
			if parsed.marker != "" {
				continue
			}
			left, err := withoutName(line, name)
			if err != nil {
				continue
			}
			if again, err := readKnownHosts(strings.NewReader(left), "file", name); err != nil || len(again.keys) > 0 {
				t.Fatalf("without %q %q became %q", name, line, left)
			}
		}
	})
}
