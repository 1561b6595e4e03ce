package reach

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestSettingsAreReadAsSshdSaysThem(t *testing.T) {
	s := parseSettings(recorded(t, "sshd-T.txt"))
	for key, want := range map[string][]string{
		"port": {"22"}, "listenaddress": {"[::]:22", "0.0.0.0:22"}, "allowusers": {"root", "admin@10.0.0.0/8"}, "denyusers": {"mallory"},
		"authenticationmethods": {"publickey,password publickey"}, "hostkey": {"/etc/ssh/ssh_host_ed25519_key"},
		"authorizedkeysfile": {"%h/.ssh/authorized_keys /etc/ssh/authorized_keys.d/%u"},
	} {
		if !slices.Equal(s[key], want) {
			t.Errorf("%s is %q, want %q", key, s[key], want)
		}
	}
	for keyType, want := range map[string]bool{"ssh-ed25519": true, "ssh-rsa": true, "ssh-dss": false} {
		if s.accepts(keyType) != want {
			t.Errorf("keys of type %s are accepted: %v", keyType, !want)
		}
	}
}

var someone = Account{Name: "ann", UID: 4711, GID: 4711, Home: "/home/ann", Shell: "/bin/sh"}

// with is the recorded login with a line of settings changed; an empty value removes it.
func with(t *testing.T, a Account, change ...string) Login {
	t.Helper()
	s := parseSettings(recorded(t, "sshd-T.txt"))
	for _, key := range []string{"allowusers", "denyusers"} {
		delete(s, key)
	}
	for _, line := range change {
		key, value, _ := strings.Cut(line, " ")
		s[key] = strings.Split(value, "|")
		if value == "" {
			delete(s, key)
		}
	}
	return Login{Account: &a, Settings: s.decides(), Keys: []Key{{Type: "ssh-ed25519", Fingerprint: "SHA256:one"}}}
}

func TestChangesOfSshdsSettings(t *testing.T) {
	root := Account{Name: "root", Home: "/root", Shell: "/bin/sh"}
	for _, c := range []struct {
		name        string
		before, now Login
		want        State
	}{
		{"nothing", with(t, someone), with(t, someone), Proven},
		{"no keys", with(t, someone), with(t, someone, "pubkeyauthentication no"), Failed},
		{"no keys before either", with(t, someone, "pubkeyauthentication no"), with(t, someone, "pubkeyauthentication no"), Proven},
		{"root not at all", with(t, root), with(t, root, "permitrootlogin no"), Failed},
		{"root is somebody else", with(t, someone), with(t, someone, "permitrootlogin no"), Changed},
		{"root with a command", with(t, root), with(t, root, "permitrootlogin forced-commands-only"), Changed},
		{"denied", with(t, someone), with(t, someone, "denyusers bob|a?n"), Failed},
		{"denied from somewhere", with(t, someone), with(t, someone, "denyusers ann@10.0.0.1"), Changed},
		{"others are denied", with(t, someone), with(t, someone, "denyusers bob"), Changed},
		{"not allowed", with(t, someone), with(t, someone, "allowusers root|bob"), Failed},
		{"allowed from somewhere", with(t, someone), with(t, someone, "allowusers ann@10.0.0.0/8"), Changed},
		{"allowed all but", with(t, someone), with(t, someone, "allowusers !ann"), Failed},
		{"refused", with(t, someone), with(t, someone, "refuseconnection yes"), Failed},
		{"other files", with(t, someone), with(t, someone, "authorizedkeysfile none"), Changed},
		{"a command", with(t, someone), with(t, someone, "forcecommand /bin/false"), Changed},
		{"two factors", with(t, someone), with(t, someone, "authenticationmethods publickey,password"), Changed},
		{"a port", with(t, someone), with(t, someone, "listenaddress 0.0.0.0:2022"), Changed},
		{"a host key", with(t, someone), with(t, someone, "hostkey /etc/ssh/other"), Changed},
		{"the type of the key", with(t, someone), with(t, someone, "pubkeyacceptedalgorithms rsa-sha2-512"), Failed},
		{"algorithms of no key", with(t, someone), with(t, someone, "pubkeyacceptedalgorithms ssh-ed25519"), Proven},
		{"a banner", with(t, someone), with(t, someone, "banner /etc/issue"), Proven},
		{"a keyword of a newer release", with(t, someone, "refuseconnection "), with(t, someone), Proven},
		{"ciphers of a newer release", with(t, someone), with(t, someone, "ciphers aes256-gcm@openssh.com"), Proven},
		{"no such user", with(t, someone), Login{Settings: with(t, someone).Settings}, Failed},
		{"nor before", Login{}, Login{}, Unknown},
		{"no shell", with(t, someone), with(t, Account{Name: "ann", UID: 4711, GID: 4711, Home: "/home/ann", Shell: "/run/current-system/sw/bin/nologin"}), Failed},
		{"a shell that is not there", with(t, someone), with(t, Account{Name: "ann", UID: 4711, GID: 4711, Home: "/home/ann", Shell: "/bin/none"}), Failed},
		{"another home", with(t, someone), with(t, Account{Name: "ann", UID: 4711, GID: 4711, Home: "/home/other", Shell: "/bin/sh"}), Changed},
	} {
		if f := compareSettings("ann", c.before, c.now); f.State != c.want {
			t.Errorf("%s: %s (%s), want %s", c.name, f.State, f.Detail, c.want)
		}
	}
}

const (
	keyOne = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAreZXBJcyqjE/38BFyy5A6QSCH/rW7eccY/dQMck8SP"
	keyTwo = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAreZXBJcyqjE/38BFyy5A6QSCH/rW7eccY/dQMck8SQ"
)

func TestLinesOfAuthorizedKeys(t *testing.T) {
	for line, want := range map[string]string{
		keyOne + " somebody@somewhere": "",
		"\t" + keyOne:                  "",
		`from="10.0.0.1,10.0.0.2",command="echo \"a b\"",no-pty ` + keyOne: `from="10.0.0.1,10.0.0.2",command="echo \"a b\"",no-pty`,
		"restrict\t" + keyOne + " comment":                                 "restrict",
	} {
		k, ok := parseKeyLine(line)
		if !ok || k.Options != want || k.Type != "ssh-ed25519" || k.Fingerprint != "SHA256:CxZoW997xDLUg8i6uJjgx5E2/nOBNsP0WWkzIXLlIOA" {
			t.Errorf("%q is %+v %v", line, k, ok)
		}
	}
	for _, line := range []string{
		"", "# " + keyOne, "ssh-ed25519", "ssh-ed25519 !!!!", "ssh-rsa " + strings.Fields(keyOne)[1], "ssh-ed25519 AAAA", `command="` + keyOne,
		strings.Repeat("a", longestKey) + " " + keyOne,
	} {
		if k, ok := parseKeyLine(line); ok {
			t.Errorf("%q is %+v", line, k)
		}
	}
}

func TestChangesOfKeys(t *testing.T) {
	login := func(lines string) Login { return Login{Keys: parseKeys(lines), Settings: Settings{}} }
	asked := login("")
	asked.Settings = Settings{"authorizedkeyscommand": {"/bin/keys"}}
	for _, c := range []struct {
		name        string
		before, now Login
		want        State
	}{
		{"the same", login(keyOne + "\n" + keyTwo), login(keyTwo + " other comment\n" + keyOne), Proven},
		{"one more", login(keyOne), login(keyOne + "\n" + keyTwo), Proven},
		{"none left", login(keyOne), login(keyTwo), Failed},
		{"one gone", login(keyOne + "\n" + keyTwo), login(keyTwo), Changed},
		{"options", login(keyOne), login("restrict " + keyOne), Changed},
		{"other options", login("from=\"10.0.0.1\" " + keyOne), login("from=\"10.0.0.2\" " + keyOne), Changed},
		{"options gone", login("from=\"10.0.0.1\" " + keyOne), login(keyOne), Proven},
		{"an authority is none any more", login("cert-authority " + keyOne), login(keyOne), Changed},
		{"the first line counts", login(keyOne), login("restrict " + keyOne + "\n" + keyOne), Changed},
		{"none before", login(""), login(""), Unknown},
		{"a program says them", asked, asked, Unknown},
		{"a program may say them", login(keyOne), asked, Changed},
	} {
		f := compareKeys("ann", c.before, c.now)
		if f.State != c.want {
			t.Errorf("%s: %s (%s), want %s", c.name, f.State, f.Detail, c.want)
		}
		if strings.Contains(f.Detail, "comment") || strings.Contains(f.Detail, "AAAA") {
			t.Errorf("%s: it tells the line: %s", c.name, f.Detail)
		}
	}
}

func TestKeysAreOnlyAdmittedFromFilesThatSshdTakes(t *testing.T) {
	home := t.TempDir()
	a := Account{Name: "root", UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Home: home}
	file := filepath.Join(home, ".ssh/authorized_keys")
	if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(keyOne+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	mode := func(name string, mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	s := Settings{"authorizedkeysfile": {".ssh/authorized_keys %h/none none"}, "strictmodes": {"yes"}}
	require := func(what string, keys int, refused string) {
		t.Helper()
		got, why := admitted(a, s)
		if len(got) != keys || !strings.Contains(strings.Join(why, " "), refused) {
			t.Errorf("%s: %d keys, refused %q", what, len(got), why)
		}
	}
	require("as it should be", 1, "")
	mode(file, 0o620)
	require("a file that the group writes", 0, file)
	s["strictmodes"] = []string{"no"}
	require("without StrictModes", 1, "")
	s["strictmodes"] = []string{"yes"}
	mode(file, 0o600)
	mode(home, 0o777)
	require("a home that all write", 0, "mode 0777 of "+home)
	mode(home, 0o700)
	if err := os.Rename(file, file+"2"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file+"2", file); err != nil {
		t.Fatal(err)
	}
	require("a link", 1, "")
	if err := os.Remove(file + "2"); err != nil {
		t.Fatal(err)
	}
	require("a link to nowhere", 0, "")
	if err := os.Symlink("/dev/zero", file+"2"); err != nil {
		t.Fatal(err)
	}
	require("a device", 0, "no regular file")
}

func TestPatternsOfKeyFiles(t *testing.T) {
	for pattern, want := range map[string]string{
		"%h/.ssh/authorized_keys": "/home/ann/.ssh/authorized_keys", ".ssh/keys": "/home/ann/.ssh/keys",
		"/etc/ssh/authorized_keys.d/%u": "/etc/ssh/authorized_keys.d/ann", "/k/%U/%%u": "/k/4711/%u",
	} {
		if got := someone.expand(pattern); got != want {
			t.Errorf("%s is %s, want %s", pattern, got, want)
		}
	}
}

func TestFilesAreReadAsTheUser(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "keys")
	if err := os.WriteFile(file, []byte(keyOne), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := someone.mayRead(file); err == nil {
		t.Error("a file of somebody else's alone is the user's to read")
	}
	if err := someone.mayRead("/etc/passwd"); err != nil {
		t.Error(err)
	}
}

func FuzzSettings(f *testing.F) {
	text, err := os.ReadFile("testdata/sshd-T.txt")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add("allowusers [\nallowusers \\\ndenyusers *?*?\nport\n")
	f.Fuzz(func(t *testing.T, text string) {
		s := parseSettings(text)
		delete(s, "trustedusercakeys") // no file of this machine is read
		delete(s, "revokedkeys")
		l := Login{Account: &someone, Settings: s.decides()}
		if found := compareSettings("ann", l, l); found.State != Proven {
			t.Errorf("what is the same is %s: %s", found.State, found.Detail)
		}
	})
}

func FuzzAuthorizedKeys(f *testing.F) {
	f.Add(keyOne + " somebody\n# no\nrestrict,command=\"a \\\" b\" " + keyTwo)
	f.Add("cert-authority ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY=")
	f.Fuzz(func(t *testing.T, text string) {
		for _, k := range parseKeys(text) {
			again, ok := parseKeyLine(strings.TrimLeft(k.Options+" ", " ") + k.Type + " " + k.blob)
			if !ok || again != k {
				t.Errorf("%+v is read again as %+v", k, again)
			}
		}
	})
}
