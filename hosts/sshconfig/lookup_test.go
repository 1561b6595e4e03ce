package sshconfig

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// configured writes an ssh_config into a home of its own and reads it.
func configured(t *testing.T, text string) *Config {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	writeAll(t, home, map[string]string{"ssh_config": text})
	c, err := LoadOnly(filepath.Join(home, "ssh_config"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func lookup(t *testing.T, text, host string) Settings {
	t.Helper()
	s, err := configured(t, text).Lookup(Query{Host: host})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func refusal(t *testing.T, err error) *Error {
	t.Helper()
	var refused *Error
	if !errors.As(err, &refused) {
		t.Fatalf("got %v", err)
	}
	return refused
}

// What hdeploy cannot honour is refused where it stands, and only for the hosts it
// holds for.
func TestWhatCannotBeHonouredIsRefused(t *testing.T) {
	for _, text := range []string{
		"CanonicalizeHostname yes", "CanonicalizeHostname always", "CanonicalizePermittedCNAMEs *.a:*.b", "BindInterface eth0",
		"RevokedHostKeys /etc/revoked", "PKCS11Provider /lib/p.so", "SecurityKeyProvider /lib/s.so", "PubkeyAuthentication no",
		"RefuseConnection closed", "Match command x", "Match version OpenSSH_9*", "Match sessiontype shell",
	} {
		t.Run(text, func(t *testing.T) {
			directive, _, _ := strings.Cut(text, " ")
			block := "Host web1\n" + text + "\n"
			if directive == "Match" {
				block = "# as long\nMatch host web1 " + strings.TrimPrefix(text, "Match ") + "\n"
			}
			c := configured(t, block)
			_, err := c.Lookup(Query{Host: "web1"})
			refused := refusal(t, err)
			if refused.Directive != directive || refused.Line != 2 || !strings.HasSuffix(refused.File, "ssh_config") {
				t.Errorf("got %v", err)
			}
			if _, err := c.Lookup(Query{Host: "web2"}); err != nil {
				t.Errorf("of another host: %v", err)
			}
		})
	}
	for _, text := range []string{
		"CanonicalizeHostname no", "CanonicalizePermittedCNAMEs none", "RevokedHostKeys none", "PKCS11Provider none", "ProxyUseFdpass yes",
		"SecurityKeyProvider internal", "PubkeyAuthentication host-bound", "GSSAPIKexAlgorithms gss-group14-sha256-", "UseKeychain yes",
	} {
		if _, err := configured(t, text).Lookup(Query{Host: "web1"}); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	_, err := configured(t, "ProxyUseFdpass yes\nProxyCommand nc\n").Lookup(Query{Host: "web1"})
	if refusal(t, err).Directive != "ProxyUseFdpass" {
		t.Errorf("got %v", err)
	}
}

func TestAProxyCommandThatVersionsDisagreeAboutIsRefused(t *testing.T) {
	c := configured(t, "Host web1 web2\nProxyJump none\nHost web2\nProxyCommand none\nHost *\nProxyCommand nc\n")
	_, err := c.Lookup(Query{Host: "web1"})
	if refused := refusal(t, err); refused.Directive != "ProxyCommand" || refused.Line != 6 {
		t.Errorf("got %v", err)
	}
	if s := lookup(t, "ProxyCommand none\nProxyJump none\nProxyCommand nc\n", "web1"); s.ProxyCommand != "" {
		t.Errorf("got %s", s.ProxyCommand)
	}
}

func TestCarelessnessIsToldAndNotFollowed(t *testing.T) {
	s := lookup(t, "StrictHostKeyChecking accept-new\nNoHostAuthenticationForLocalhost yes\nVerifyHostKeyDNS yes\n", "web1")
	var told []string
	for _, ignored := range s.Ignored {
		told = append(told, fmt.Sprintf("%s %s %d", ignored.Directive, ignored.Value, ignored.Source.Line))
	}
	if want := []string{"StrictHostKeyChecking accept-new 1", "NoHostAuthenticationForLocalhost yes 2", "VerifyHostKeyDNS yes 3"}; !slices.Equal(told, want) {
		t.Errorf("got %v", told)
	}
	if s := lookup(t, "StrictHostKeyChecking ask\n", "web1"); s.Ignored != nil {
		t.Errorf("got %v", s.Ignored)
	}
}

func TestSettings(t *testing.T) {
	t.Setenv("HDEPLOY_SOCKET", "/run/socket")
	for _, test := range []struct {
		name, text string
		got        func(Settings) any
		want       any
	}{
		{"nothing", "", func(s Settings) any { return s }, Settings{HostName: "web1"}},
		{"no key", "IdentityFile none", func(s Settings) any { return s.IdentityFiles }, []string{}},
		{"a key twice", "IdentityFile /k\nIdentityFile /./k", func(s Settings) any { return s.IdentityFiles }, []string{"/k"}},
		{"an agent of a variable", "IdentityAgent $HDEPLOY_SOCKET", func(s Settings) any { return s.IdentityAgent }, "/run/socket"},
		{"an agent of a variable in braces", "IdentityAgent ${HDEPLOY_SOCKET}.1", func(s Settings) any { return s.IdentityAgent }, "/run/socket.1"},
		{"an agent of a variable that is not set", "IdentityAgent $HDEPLOY_ABSENT", func(s Settings) any { return s.IdentityAgent }, "none"},
		{"known hosts of the user", "UserKnownHostsFile /a /b", func(s Settings) any { return s.KnownHostsFiles }, []string{"/a", "/b", "/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"}},
		{"no known hosts", "UserKnownHostsFile none\nGlobalKnownHostsFile none", func(s Settings) any { return s.KnownHostsFiles }, []string{}},
		{"a command of known hosts", `KnownHostsCommand /bin/keys "%H %%" %t %K %f %I %h`, func(s Settings) any { return s.KnownHostsCommand }, []string{"/bin/keys", "%H %%", "%t", "%K", "%f", "%I", "web1"}},
		{"no command of known hosts", "KnownHostsCommand none", func(s Settings) any { return s.KnownHostsCommand }, []string(nil)},
		{"any family", "AddressFamily any", func(s Settings) any { return s.AddressFamily }, ""},
		{"a user with tokens", "User %u-%n", func(s Settings) any { return strings.HasSuffix(s.User, "-web1") }, true},
		{"the source of a key", "\nIdentityFile /k\nIdentityFile /l", func(s Settings) any { return s.Sources["IdentityFile"].Line }, 2},
		{"a way", "ProxyJump a,b", func(s Settings) any { return s.ProxyJump }, []string{"a", "b"}},
		{"a way with tokens", "ProxyJump %n-gate", func(s Settings) any { return s.ProxyJump }, []string{"web1-gate"}},
		{"a tag", "Host web1\nTag red\nMatch tagged red,blue\nUser tagged\nMatch tagged green\nPort 2222", func(s Settings) any { return fmt.Sprint(s.User, s.Port) }, "tagged0"},
		{"the local network", "Match localnetwork 127.0.0.0/8\nUser here\nMatch localnetwork 203.0.113.0/24\nPort 2222", func(s Settings) any { return fmt.Sprint(s.User, s.Port) }, "here0"},
		{"tokens of Include", "Include ~/ssh_config-%n ~/${HDEPLOY_NAME}", func(s Settings) any { return s.User }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("HDEPLOY_NAME", "absent")
			if got := test.got(lookup(t, test.text, "web1")); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %#v", got)
			}
		})
	}
}

func TestFaultsHavePlaces(t *testing.T) {
	for text, want := range map[string]string{
		"KnownHostsCommand keys":                      "1 KnownHostsCommand",
		"\nHostName a;b":                              "2 HostName",
		"User -oProxyCommand=x":                       "1 User",
		"IdentityFile ${HDEPLOY_ABSENT}":              "1 IdentityFile",
		"IdentityFile ~nobody-of-this-name/k":         "1 IdentityFile",
		"IdentityFile %z":                             "1 IdentityFile",
		"ProxyCommand nc %":                           "1 ProxyCommand",
		"Host web1\nHostKeyAlgorithms !ssh-ed25519":   "2 HostKeyAlgorithms",
		"Match localnetwork 127.0.0.1/8":              "1 Match",
		"Match exec \"kill -9 $$\"":                   "1 Match",
		"Include ~/[":                                 "1 Include",
		"User a\x00b":                                 "1 ",
		"HostName " + strings.Repeat("%h", 1<<16):     "1 HostName",
		"IdentityFile " + strings.Repeat("%d", 1<<16): "1 IdentityFile",
		"ProxyJump %z":                                "1 ProxyJump",
	} {
		_, err := configured(t, text).Lookup(Query{Host: "web1"})
		refused := refusal(t, err)
		if got := fmt.Sprintf("%d %s", refused.Line, refused.Directive); got != want || refused.Message == "" {
			t.Errorf("%.40q: got %v", text, err)
		}
	}
}

func TestHostileNamesAreRefused(t *testing.T) {
	c := configured(t, "ProxyCommand nc %h %r\n")
	for _, host := range []string{"", "-oProxyCommand=x", "a b", "a\nb", "$(x)", "a;b", "a'b", "a\x1bb", strings.Repeat("a", 2000)} {
		if _, err := c.Lookup(Query{Host: host}); err == nil {
			t.Errorf("%q is a host", host)
		}
	}
	for _, user := range []string{"-x", "a;b", "a|b", "a -b", "a\\", "a\nb"} {
		if _, err := c.Lookup(Query{Host: "web1", User: user}); err == nil {
			t.Errorf("%q is a user", user)
		}
	}
}

func TestOptionsAreOneLine(t *testing.T) {
	c := configured(t, "")
	for _, o := range []Option{{Directive: "User", Value: "a\nProxyCommand x"}, {Directive: "User x\nPort", Value: "1"}, {Directive: "# User", Value: "x"}, {Value: "x"}, {Directive: "Include", Value: "/etc/passwd"}} {
		if _, err := c.Lookup(Query{Host: "web1", Options: []Option{o}}); err == nil {
			t.Errorf("%+v is an option", o)
		}
	}
}

func TestFilesOthersMayWriteToAreRefused(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	writeAll(t, home, map[string]string{"user": "User alice\nInclude ~/more\n", "more": "Port 2222\n"})
	chmod := func(name string, mode os.FileMode) {
		if err := os.Chmod(filepath.Join(home, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(read func() (*Config, error)) error {
		c, err := read()
		if err != nil {
			return err
		}
		_, err = c.Lookup(Query{Host: "web1"})
		return err
	}
	user := filepath.Join(home, "user")
	byDefault := func() (*Config, error) { return Load(user, "") }
	named := func() (*Config, error) { return LoadOnly(user) }
	if err := ask(byDefault); err != nil {
		t.Fatal(err)
	}
	chmod("user", 0o620)
	if err := ask(byDefault); err == nil || !strings.Contains(err.Error(), "chmod go-w") {
		t.Errorf("the user's file: %v", err)
	}
	if err := ask(named); err != nil {
		t.Errorf("a file that was asked for by name: %v", err)
	}
	chmod("more", 0o602)
	if err := ask(named); err == nil || !strings.Contains(err.Error(), "more") {
		t.Errorf("an included file: %v", err)
	}
}

func TestFilesThatAreNoneAreRefused(t *testing.T) {
	home := t.TempDir()
	pipe := filepath.Join(home, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(home, "large")
	if err := os.WriteFile(large, []byte(strings.Repeat("#\n", mostBytes)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, large, filepath.Join(home, "absent")} {
		if _, err := LoadOnly(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := Load(filepath.Join(home, "absent"), filepath.Join(home, "none")); err != nil {
		t.Errorf("files that are not there: %v", err)
	}
}

// Files that include each other twice would be read 65536 times.
func TestIncludesAreBounded(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	files := map[string]string{}
	for i := range 15 {
		files[fmt.Sprintf("f%d", i)] = fmt.Sprintf("Include ~/f%d ~/f%d\n", i+1, i+1)
	}
	files["f15"] = "User alice\n"
	writeAll(t, home, files)
	c, err := LoadOnly(filepath.Join(home, "f0"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err = c.Lookup(Query{Host: "web1"}); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("got %v", err)
	}
}

func TestACommandOfMatchHasADeadline(t *testing.T) {
	c := configured(t, "Match exec \"sleep 600 & wait\"\nUser alice\n")
	c.execTimeout = 200 * time.Millisecond
	_, err := c.Lookup(Query{Host: "web1"})
	if refused := refusal(t, err); refused.Directive != "Match" || !strings.Contains(refused.Message, "longer than") {
		t.Errorf("got %v", err)
	}
}

func TestHops(t *testing.T) {
	c := configured(t, "Host a\nProxyJump z\nPort 1\nHost b\nProxyJump never\nProxyCommand never\nHost loop\nProxyJump loop\nHost deep*\nProxyCommand first\n")
	way := func(jumps ...string) string {
		hops, err := c.Hops(Settings{ProxyJump: jumps})
		if err != nil {
			return refusal(t, err).Directive
		}
		var names []string
		for _, hop := range hops {
			if hop.Settings.ProxyJump != nil {
				t.Errorf("%s has a way of its own: %v", hop.Host, hop.Settings.ProxyJump)
			}
			names = append(names, strings.TrimSuffix(fmt.Sprintf("%s:%d%s", hop.Host, hop.Settings.Port, hop.Settings.ProxyCommand), ":0"))
		}
		return strings.Join(names, " ")
	}
	for _, test := range []struct {
		jumps []string
		want  string
	}{
		{nil, ""}, {[]string{"a", "b"}, "z a:1 b"}, {[]string{"b:5", "ssh://x@a:7"}, "never b:5 a:7"}, {[]string{"loop"}, "ProxyJump"},
		{[]string{"deep1", "deep2"}, "deep1:0first deep2"}, {strings.Split(strings.Repeat("x,", 17)+"x", ","), "ProxyJump"},
	} {
		if got := way(test.jumps...); got != test.want {
			t.Errorf("%v: got %q, want %q", test.jumps, got, test.want)
		}
	}
}
