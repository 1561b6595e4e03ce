package sshconfig

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// configuration is one directory with an ssh_config, and what it is asked.
type configuration struct {
	name string
	// text is the configuration; files are others in the same directory, which is
	// $HOME.
	text  string
	files map[string]string
	// host is asked for, with -l, -p and -o.
	host    string
	user    string
	port    int
	options []Option
	// fails says that ssh refuses the configuration.
	fails bool
	// connects says that it has a ProxyCommand that ends at once, so that ssh shows
	// what it expands it and the keys to.
	connects bool
}

// said is what ssh -G prints, by directive in lower case.
type said map[string]string

// judged are the directives that decide where a connection goes and who is trusted.
var judged = []string{
	"host", "user", "hostname", "port", "addressfamily", "identitiesonly", "bindaddress", "hostkeyalgorithms", "hostkeyalias", "identityagent",
	"knownhostscommand", "identityfile", "certificatefile", "globalknownhostsfile", "userknownhostsfile", "proxycommand", "proxyjump",
	"connecttimeout", "casignaturealgorithms", "requiredrsasize", "canonicalizehostname", "canonicalizepermittedcnames", "proxyusefdpass",
	"bindinterface", "revokedhostkeys", "pkcs11provider", "securitykeyprovider", "pubkeyauthentication", "stricthostkeychecking",
	"verifyhostkeydns", "nohostauthenticationforlocalhost",
}

func TestConfigurationsMeanWhatTheyMeanToOpenSSH(t *testing.T) {
	differences := 0
	all := slices.Concat(configurations, composed())
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			found := c.differences(t)
			for _, difference := range found {
				t.Error(difference)
			}
			if found != nil {
				t.Logf("asked for %s with %v: %s", c.host, c.options, c.text)
			}
			differences += len(found)
		})
	}
	t.Logf("ssh_config: %d configurations, %d differences", len(all), differences)
}

func (c configuration) differences(t *testing.T) []string {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("SSH_AUTH_SOCK", "/run/agent")
	t.Setenv("HDEPLOY_PLACE", "place")
	t.Setenv("SHELL", "/bin/sh")
	main := filepath.Join(home, "ssh_config")
	writeAll(t, home, c.files)
	writeAll(t, home, map[string]string{"ssh_config": strings.ReplaceAll(c.text, "@HOME@", home)})

	want, complaint := c.ask(t, home, main, "-G")
	ours, err := c.resolution(main)
	switch {
	case c.fails != (want == nil):
		t.Fatalf("ssh: %v, %s", want, complaint)
	case c.fails && err == nil:
		return []string{"ssh refuses it, and hdeploy does not: " + complaint}
	case c.fails:
		if place := (*Error)(nil); !errors.As(err, &place) || place.File == "" {
			t.Errorf("the refusal has no place: %v", err)
		}
		return nil
	case err != nil:
		return []string{"hdeploy refuses it, and ssh does not: " + err.Error()}
	}
	defaults, _ := configuration{host: "x"}.ask(t, home, os.DevNull, "-G")
	got := dump(ours, defaults)
	var found []string
	for _, directive := range judged {
		if plainFlag(got[directive]) != plainFlag(want[directive]) {
			found = append(found, directive+" is "+got[directive]+"; to ssh it is "+want[directive])
		}
	}
	if c.connects {
		found = append(found, c.expansions(t, home, main, ours)...)
	}
	return found
}

func writeAll(t *testing.T, home string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// run starts ssh. Its account's home, which $HOME does not change, is written as the
// other one.
func (c configuration) run(t *testing.T, home, main string, arguments ...string) (string, string, error) {
	t.Helper()
	argv := append(arguments, "-F", main)
	if c.user != "" {
		argv = append(argv, "-l", c.user)
	}
	if c.port != 0 {
		argv = append(argv, "-p", portText(c.port))
	}
	for _, o := range c.options {
		argv = append(argv, "-o", o.Directive+"="+o.Value)
	}
	command := exec.Command("ssh", append(argv, c.host)...)
	command.Dir = home
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	account, lookupErr := user.Current()
	if lookupErr != nil {
		t.Fatal(lookupErr)
	}
	here := func(text string) string { return strings.ReplaceAll(text, account.HomeDir, home) }
	return here(stdout.String()), here(stderr.String()), err
}

// ask returns what ssh -G prints, nil if it refuses.
func (c configuration) ask(t *testing.T, home, main, flag string) (said, string) {
	t.Helper()
	output, complaint, err := c.run(t, home, main, flag)
	if err != nil {
		if refused := (*exec.ExitError)(nil); !errors.As(err, &refused) {
			t.Fatalf("the package openssh-client is missing: %v", err)
		}
		return nil, complaint
	}
	all := said{}
	for row := range strings.Lines(output) {
		directive, text, _ := strings.Cut(strings.TrimSuffix(row, "\n"), " ")
		directive = lower(directive)
		if all[directive] != "" {
			text = all[directive] + "\n" + text
		}
		all[directive] = text
	}
	return all, ""
}

func (c configuration) resolution(main string) (*resolution, error) {
	config, err := LoadOnly(main)
	if err != nil {
		return nil, err
	}
	r, err := config.resolve(Query{Host: c.host, User: c.user, Port: c.port, Options: c.options})
	if err != nil {
		return nil, err
	}
	_, err = r.settings()
	return r, err
}

// dump writes a resolution as ssh -G does; defaults are ssh's own.
func dump(r *resolution, defaults said) said {
	s, _ := r.settings()
	all := maps.Clone(defaults)
	for directive, v := range r.first {
		if name := lower(directive); v.words != nil && lower(v.words[0]) != "none" {
			all[name] = strings.Join(v.words, " ")
		}
	}
	all["host"], all["hostname"], all["user"] = r.query.Host, r.host, r.user()
	all["hostkeyalias"] = s.HostKeyAlias
	for _, raw := range [][2]any{{"identityfile", r.identities}, {"certificatefile", r.certificates}} {
		var paths []string
		for _, file := range raw[1].([]keyFile) {
			paths = append(paths, file.path)
		}
		if paths != nil {
			all[raw[0].(string)] = strings.Join(paths, "\n")
		}
	}
	lists := map[string][]string{"hostkeyalgorithms": s.HostKeyAlgorithms, "casignaturealgorithms": s.CASignatureAlgorithms}
	for name, names := range lists {
		if names != nil {
			all[name] = strings.Join(names, ",")
		}
	}
	users := len(s.KnownHostsFiles) - len(r.first["GlobalKnownHostsFile"].words)
	if said := r.first["UserKnownHostsFile"].words; said != nil {
		all["userknownhostsfile"] = "none"
		if lower(said[0]) != "none" {
			all["userknownhostsfile"] = strings.Join(s.KnownHostsFiles[:len(said)], " ")
		}
	} else if s.KnownHostsFiles != nil && users >= 2 {
		all["userknownhostsfile"] = strings.Join(s.KnownHostsFiles[:2], " ")
	}
	if said := r.first["GlobalKnownHostsFile"].words; said != nil && lower(said[0]) == "none" {
		all["globalknownhostsfile"] = "none"
	}
	if agent := r.word("IdentityAgent"); agent != "" {
		all["identityagent"], _ = r.path("IdentityAgent", agent)
	}
	if last := len(r.jumps) - 1; last >= 0 {
		hop, _ := ParseHop(s.ProxyJump[last])
		all["proxyjump"] = strings.Join(append(slices.Clone(s.ProxyJump[:last]), hopText(hop)), ",")
	} else {
		delete(all, "proxyjump")
	}
	return all
}

// plainFlag writes the words of ssh -G that mean the same in one way.
func plainFlag(word string) string {
	switch word {
	case "true":
		return "yes"
	case "false":
		return "no"
	}
	return word
}

// hopText writes a hop as ssh -G writes the last one.
func hopText(hop Hop) string {
	text := hop.Host
	if strings.Contains(text, ":") || strings.Trim(text, "0123456789.") == "" {
		text = "[" + text + "]"
	}
	if hop.User != "" {
		text = hop.User + "@" + text
	}
	if hop.Port != 0 {
		text += ":" + portText(hop.Port)
	}
	return text
}

// expansions compares what ssh expands when it connects.
func (c configuration) expansions(t *testing.T, home, main string, r *resolution) []string {
	t.Helper()
	_, trace, _ := c.run(t, home, main, "-v", "-o", "BatchMode=yes")
	var keys, certificates []string
	command := ""
	for row := range strings.Lines(trace) {
		row = strings.TrimRight(row, "\r\n")
		if rest, ok := strings.CutPrefix(row, "debug1: Executing proxy command: exec "); ok {
			command = rest
		}
		if path, _, ok := strings.Cut(strings.TrimPrefix(row, "debug1: identity file "), " type "); ok && strings.HasPrefix(row, "debug1: identity") {
			if !strings.HasSuffix(path, "-cert") {
				keys = append(keys, path)
			}
		}
		if path, _, ok := strings.Cut(strings.TrimPrefix(row, "debug1: certificate file "), " type "); ok && strings.HasPrefix(row, "debug1: certificate") {
			certificates = append(certificates, path)
		}
	}
	s, err := r.settings()
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	if s.ProxyCommand != command {
		found = append(found, "ProxyCommand is "+s.ProxyCommand+"; to ssh it is "+command)
	}
	if s.IdentityFiles != nil && !slices.Equal(s.IdentityFiles, keys) {
		found = append(found, "IdentityFile is "+strings.Join(s.IdentityFiles, " ")+"; to ssh it is "+strings.Join(keys, " "))
	}
	if !slices.Equal(s.CertificateFiles, certificates) {
		found = append(found, "CertificateFile is "+strings.Join(s.CertificateFiles, " ")+"; to ssh it is "+strings.Join(certificates, " "))
	}
	return found
}
