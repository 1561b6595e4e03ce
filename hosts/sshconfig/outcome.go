package sshconfig

import (
	"cmp"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// refused names the first directive in effect that hdeploy cannot honour, and that
// would change where the connection goes or who is trusted.
func (r *resolution) refused() error {
	said := func(directive string) string { return lower(r.word(directive)) }
	refusals := []struct {
		directive string
		holds     bool
		why, next string
	}{
		{"RefuseConnection", said("RefuseConnection") != "", "ssh_config refuses it: " + r.word("RefuseConnection"), ""},
		{"CanonicalizeHostname", said("CanonicalizeHostname") == "yes" || said("CanonicalizeHostname") == "always",
			"hdeploy does not look for the host in other domains, and would connect to another one than ssh", "write HostName for this host, or CanonicalizeHostname no"},
		{"CanonicalizePermittedCNAMEs", said("CanonicalizePermittedCNAMEs") != "" && said("CanonicalizePermittedCNAMEs") != "none",
			"hdeploy does not follow aliases of DNS, and would know the host by another name than ssh", "write HostName or HostKeyAlias for this host"},
		{"ProxyUseFdpass", said("ProxyUseFdpass") == "yes" && said("ProxyCommand") != "" && said("ProxyCommand") != "none",
			"hdeploy does not take connections from other programs", "use a ProxyCommand that passes the data on"},
		{"BindInterface", said("BindInterface") != "", "hdeploy does not choose an interface", "use BindAddress"},
		{"RevokedHostKeys", said("RevokedHostKeys") != "" && said("RevokedHostKeys") != "none",
			"hdeploy does not read lists of revoked keys, and would trust what they revoke", "pin host_keys in deploy.toml and write RevokedHostKeys none for this host"},
		{"PKCS11Provider", said("PKCS11Provider") != "" && said("PKCS11Provider") != "none",
			"hdeploy does not load providers of keys", "add their keys to the agent with\n    ssh-add -s " + r.word("PKCS11Provider")},
		{"SecurityKeyProvider", said("SecurityKeyProvider") != "" && !slices.Contains([]string{"none", "internal", "$ssh_sk_provider"}, said("SecurityKeyProvider")),
			"hdeploy does not load providers of keys", "add their keys to the agent with ssh-add, and write SecurityKeyProvider internal for this host"},
		{"PubkeyAuthentication", said("PubkeyAuthentication") == "no", "hdeploy logs in with keys only", "write PubkeyAuthentication yes for this host"},
	}
	if r.contested != (Source{}) {
		return &Error{Source: r.contested, Directive: "ProxyCommand", Message: "OpenSSH before 10.3 passes over it, since ProxyJump none comes first, and later ones do not",
			Next: "write ProxyCommand none beside ProxyJump none, or leave that out"}
	}
	for _, refusal := range refusals {
		if refusal.holds {
			next := refusal.next
			if next == "" {
				next = "deploy another host, or take the line away"
			}
			return &Error{Source: r.source(refusal.directive), Directive: refusal.directive, Message: refusal.why, Next: next}
		}
	}
	return nil
}

// settings turn the words of the directives into what they mean.
func (r *resolution) settings() (Settings, error) {
	s := Settings{HostName: r.host, HostKeyAlias: lower(r.word("HostKeyAlias")), BindAddress: r.word("BindAddress")}
	for directive, said := range r.first {
		if said.at == (Source{}) {
			continue // User and Port of the query are said elsewhere
		}
		if s.Sources == nil {
			s.Sources = map[string]Source{}
		}
		s.Sources[directive] = said.at
	}
	steps := []func(*Settings) error{r.login, r.keys, r.proxy, r.trust, r.knownHostsCommand}
	for _, step := range steps {
		if err := step(&s); err != nil {
			return Settings{}, err
		}
	}
	s.Ignored = r.ignored()
	return s, nil
}

func (r *resolution) login(s *Settings) error {
	if r.word("Port") != "" {
		s.Port = r.port()
	}
	if name := r.word("User"); name != "" {
		expanded := name
		if name != r.query.User {
			known := r.tokens()
			delete(known, 'r')
			delete(known, 'C')
			var err error
			if expanded, err = expand(name, known, r.config.local.env); err != nil {
				return r.fault("User", "%v", err)
			}
		}
		if !validUser(expanded) {
			return r.fault("User", "a user cannot be called %q", expanded)
		}
		s.User = expanded
		r.first["User"] = value{words: []string{expanded}, at: r.first["User"].at}
	}
	if family := r.word("AddressFamily"); family != "any" {
		s.AddressFamily = family
	}
	if seconds, err := strconv.Atoi(r.word("ConnectTimeout")); err == nil {
		s.ConnectTimeout = seconds
	}
	return nil
}

func (r *resolution) keys(s *Settings) (err error) {
	s.IdentitiesOnly = r.word("IdentitiesOnly") == "yes"
	if s.IdentityFiles, err = r.keyPaths("IdentityFile", r.identities); err != nil {
		return err
	}
	if s.CertificateFiles, err = r.keyPaths("CertificateFile", r.certificates); err != nil {
		return err
	}
	agent := r.word("IdentityAgent")
	if agent == "" {
		return nil
	}
	if agent, err = r.path("IdentityAgent", agent); err != nil {
		return err
	}
	switch name, isVariable := strings.CutPrefix(agent, "$"); {
	case agent == "SSH_AUTH_SOCK":
		s.IdentityAgent, _ = r.config.local.env("SSH_AUTH_SOCK")
	case isVariable:
		s.IdentityAgent, _ = r.config.local.env(name)
	default:
		s.IdentityAgent = agent
	}
	if s.IdentityAgent == "" {
		s.IdentityAgent = "none" // the variable that names it is not set
	}
	return nil
}

func (r *resolution) keyPaths(directive string, files []keyFile) ([]string, error) {
	if len(files) == 0 {
		return nil, nil
	}
	paths := []string{}
	for _, file := range files {
		if directive == "IdentityFile" && lower(file.path) == "none" {
			continue
		}
		path, err := r.path(directive, file.path)
		if err != nil {
			return nil, err
		}
		if path, err = filepath.Abs(path); err != nil {
			return nil, r.fault(directive, "%v", err)
		}
		if !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	return paths, nil
}

// path expands what stands for a file: the tilde, tokens and the environment.
func (r *resolution) path(directive, text string) (string, error) {
	path, err := r.config.local.tilde(text)
	if err != nil {
		return "", r.fault(directive, "%v", err)
	}
	if path, err = expand(path, r.tokens(), r.config.local.env); err != nil {
		return "", r.fault(directive, "%v", err)
	}
	return path, nil
}

func (r *resolution) proxy(s *Settings) error {
	known := r.tokens().only("hknpr")
	for _, hop := range r.jumps {
		expanded, err := expand(hop, known, nil)
		if err != nil {
			return r.fault("ProxyJump", "%v", err)
		}
		if _, err := ParseHop(expanded); err != nil {
			return r.fault("ProxyJump", "%v", err)
		}
		s.ProxyJump = append(s.ProxyJump, expanded)
	}
	if err := r.refuseLoop(s.ProxyJump); err != nil {
		return err
	}
	command := r.word("ProxyCommand")
	if command == "" || lower(command) == "none" {
		return nil
	}
	var err error
	if s.ProxyCommand, err = expand(command, known, nil); err != nil {
		return r.fault("ProxyCommand", "%v", err)
	}
	return nil
}

// refuseLoop refuses a last hop that is the destination itself.
func (r *resolution) refuseLoop(hops []string) error {
	if len(hops) == 0 {
		return nil
	}
	last, err := ParseHop(hops[len(hops)-1])
	if err == nil && last.Host == r.host && cmp.Or(last.Port, 22) == r.port() && cmp.Or(last.User, r.user()) == r.user() {
		return r.fault("ProxyJump", "the way to %s leads through itself", last.Host)
	}
	return nil
}

func (r *resolution) trust(s *Settings) error {
	all := []struct {
		directive string
		into      *[]string
		defaults  []string
		all       []string
	}{
		{"HostKeyAlgorithms", &s.HostKeyAlgorithms, defaultHostKeyAlgorithms, hostKeyAlgorithms},
		{"CASignatureAlgorithms", &s.CASignatureAlgorithms, defaultCASignatures, caSignatures()},
	}
	for _, list := range all {
		text := r.word(list.directive)
		if text == "" {
			continue
		}
		names, ok := assemble(text, list.defaults, list.all)
		if !ok || len(names) == 0 {
			return r.fault(list.directive, "%q leaves no algorithm", text)
		}
		*list.into = names
	}
	s.RequiredRSASize, _ = strconv.Atoi(r.word("RequiredRSASize"))
	return r.knownHosts(s)
}

func (r *resolution) knownHosts(s *Settings) error {
	users, systems := r.first["UserKnownHostsFile"].words, r.first["GlobalKnownHostsFile"].words
	if users == nil && systems == nil {
		return nil
	}
	if users == nil {
		users = []string{"~/.ssh/known_hosts", "~/.ssh/known_hosts2"}
	}
	if systems == nil {
		systems = []string{"/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"}
	}
	s.KnownHostsFiles = []string{}
	for _, file := range users {
		if lower(file) == "none" {
			continue
		}
		path, err := r.path("UserKnownHostsFile", file)
		if err != nil {
			return err
		}
		s.KnownHostsFiles = append(s.KnownHostsFiles, path)
	}
	for _, file := range systems {
		if lower(file) != "none" {
			s.KnownHostsFiles = append(s.KnownHostsFiles, file)
		}
	}
	return nil
}

func (r *resolution) knownHostsCommand(s *Settings) error {
	command := r.word("KnownHostsCommand")
	if command == "" || lower(command) == "none" {
		return nil
	}
	argv, ok := split(command, false)
	switch {
	case !ok:
		return r.fault("KnownHostsCommand", "a quote is not closed")
	case len(argv) == 0 || !filepath.IsAbs(argv[0]):
		return r.fault("KnownHostsCommand", "%q is no absolute path", command)
	}
	// What the host has shown is put in later, by a second expansion: what is known now
	// must come through it unchanged.
	known := r.tokens()
	for token, text := range known {
		known[token] = strings.ReplaceAll(text, "%", "%%")
	}
	for _, later := range "HIKft" {
		known[byte(later)] = "%" + string(later)
	}
	env := func(name string) (string, bool) {
		text, ok := r.config.local.env(name)
		return strings.ReplaceAll(text, "%", "%%"), ok
	}
	for i, word := range argv[1:] {
		expanded, err := expand(strings.ReplaceAll(word, "%%", "%%%%"), known, env)
		if err != nil {
			return r.fault("KnownHostsCommand", "%v", err)
		}
		argv[i+1] = expanded
	}
	s.KnownHostsCommand = argv
	return nil
}

// ignored lists what asks for less caution than hdeploy has.
func (r *resolution) ignored() []Ignored {
	why := map[string]string{
		"StrictHostKeyChecking":            "an unknown host key is refused all the same; hdeploy trust HOST adds it",
		"NoHostAuthenticationForLocalhost": "the host key is judged all the same",
		"VerifyHostKeyDNS":                 "DNS is not asked for host keys",
	}
	careless := map[string][]string{
		"StrictHostKeyChecking": {"no", "off", "accept-new"}, "NoHostAuthenticationForLocalhost": {"yes"}, "VerifyHostKeyDNS": {"yes"},
	}
	var found []Ignored
	for _, directive := range []string{"StrictHostKeyChecking", "NoHostAuthenticationForLocalhost", "VerifyHostKeyDNS"} {
		if said := r.word(directive); slices.Contains(careless[directive], said) {
			found = append(found, Ignored{Directive: directive, Value: said, Source: r.source(directive), Why: why[directive]})
		}
	}
	return found
}
