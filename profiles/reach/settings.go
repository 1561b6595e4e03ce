package reach

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os/user"
	"path"
	"slices"
	"strings"
)

// Settings are what `sshd -T` says: the values of each keyword, in order.
type Settings map[string][]string

// mostSettings caps the lines read of it.
const mostSettings = 4096

// parseSettings reads the output of `sshd -T`: a keyword in small letters, a blank, and
// its value. A list that can be added to, such as of the allowed users, has a line per
// entry.
func parseSettings(out string) Settings {
	s := Settings{}
	n := 0
	for line := range strings.Lines(out) {
		if n++; n > mostSettings {
			break
		}
		key, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if ok && key != "" {
			s[key] = append(s[key], strings.TrimSpace(value))
		}
	}
	return s
}

// decisive are the keywords of which any change may shut somebody out. Algorithms are
// not among them: each release of OpenSSH has others, and the handshake and the types of
// the keys say whether they still fit.
var decisive = []string{
	"addressfamily", "listenaddress", "permitrootlogin", "pubkeyauthentication", "authorizedkeysfile", "authorizedkeyscommand",
	"authorizedkeyscommanduser", "allowusers", "denyusers", "allowgroups", "denygroups", "authenticationmethods", "trustedusercakeys",
	"revokedkeys", "authorizedprincipalsfile", "authorizedprincipalscommand", "authorizedprincipalscommanduser", "forcecommand",
	"chrootdirectory", "hostkey", "hostcertificate", "usepam", "strictmodes", "maxsessions", "refuseconnection", "pubkeyauthoptions",
	"requiredrsasize", placeBlocks, pamAccounts,
}

// placeBlocks and pamAccounts stand among the keywords for what sshd cannot be asked
// about: blocks for a place, and whom PAM lets in.
const (
	placeBlocks = "match"
	pamAccounts = "pam"
)

// keywordsWithFiles name files whose content decides.
var keywordsWithFiles = []string{"trustedusercakeys", "revokedkeys"}

// decides is what of the settings is kept: what decides, and what is needed to read it.
func (s Settings) decides() Settings {
	kept := Settings{}
	for _, key := range append(slices.Clone(decisive), "pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes") {
		if values, ok := s[key]; ok {
			kept[key] = values
		}
	}
	for _, key := range keywordsWithFiles {
		if path := s.value(key); path != "" && path != "none" {
			kept[key] = []string{path + " (" + digest(path) + ")"}
		}
	}
	return kept
}

func (s Settings) value(key string) string { return strings.Join(s[key], " ") }

func digest(path string) string {
	text, err := readCapped(path)
	if err != nil {
		return "not readable"
	}
	sum := sha256.Sum256(text)
	return "sha256 " + hex.EncodeToString(sum[:6])
}

// login asks sshd and the files that it reads what becomes of a user who comes from an
// address.
func (d daemon) login(ctx context.Context, name string, from netip.Addr) (Login, error) {
	settings, err := d.ask(ctx, d.about(name, from)...)
	if err != nil {
		return Login{}, err
	}
	account, err := findAccount(name)
	if err != nil {
		return Login{}, err
	}
	settings[placeBlocks], settings[pamAccounts] = d.elsewhere(name), settings.asksPAM()
	l := Login{Account: account, Settings: settings.decides()}
	if account != nil {
		l.Keys, l.Refused = admitted(*account, settings)
	}
	return l, nil
}

// shutOut says why a user is surely not let in, empty where that is not sure.
func (l Login) shutOut() string {
	s := l.Settings
	switch {
	case l.Account == nil:
		return "there is no such user any more"
	case l.Account.noShell() != "":
		return l.Account.noShell()
	case s.value("refuseconnection") == "yes":
		return "RefuseConnection is set"
	case s.value("pubkeyauthentication") == "no":
		return "PubkeyAuthentication is no"
	case l.Account.UID == 0 && s.value("permitrootlogin") == "no":
		return "PermitRootLogin is no"
	}
	return l.listed()
}

// listed applies DenyUsers, AllowUsers, DenyGroups and AllowGroups, in sshd's order.
// Patterns with a host in them may hold for another host than the one asked about.
func (l Login) listed() string {
	s, name := l.Settings, l.Account.Name
	for _, pattern := range s["denyusers"] {
		if !strings.Contains(pattern, "@") && matches(pattern, name) {
			return "DenyUsers has the user"
		}
	}
	named := func(pattern string) bool {
		owner, _, _ := strings.Cut(pattern, "@")
		return matches(owner, name)
	}
	if allowed := s["allowusers"]; len(allowed) > 0 && !slices.ContainsFunc(allowed, named) {
		return "AllowUsers has not the user"
	}
	if len(s["denygroups"])+len(s["allowgroups"]) == 0 {
		return ""
	}
	groups, err := groupsOf(name)
	if err != nil {
		return ""
	}
	in := func(pattern string) bool {
		return slices.ContainsFunc(groups, func(g string) bool { return matches(pattern, g) })
	}
	if slices.ContainsFunc(s["denygroups"], in) {
		return "DenyGroups has a group of the user's"
	}
	if allowed := s["allowgroups"]; len(allowed) > 0 && !slices.ContainsFunc(allowed, in) {
		return "AllowGroups has no group of the user's"
	}
	return ""
}

// matches is ssh's pattern of * and ?. One that is negated matches nobody by itself.
func matches(pattern, name string) bool {
	if strings.HasPrefix(pattern, "!") {
		return false
	}
	literal := strings.NewReplacer(`\`, `\\`, "[", `\[`).Replace(pattern)
	ok, err := path.Match(literal, name)
	return ok && err == nil
}

func groupsOf(name string) ([]string, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, id := range ids {
		if g, err := user.LookupGroupId(id); err == nil {
			names = append(names, g.Name)
		}
	}
	return names, nil
}

// accepts says whether sshd takes keys of a type; where it does not say which it takes,
// it takes any.
func (s Settings) accepts(keyType string) bool {
	list := s.value("pubkeyacceptedalgorithms") + s.value("pubkeyacceptedkeytypes")
	if list == "" {
		return true
	}
	algorithms := strings.Split(list, ",")
	if keyType == "ssh-rsa" { // the type of the key, not only of a signature
		return slices.ContainsFunc(algorithms, func(a string) bool { return a == "ssh-rsa" || strings.HasPrefix(a, "rsa-sha2-") })
	}
	return slices.Contains(algorithms, keyType)
}

// bothOff is for a keyword that only one of two releases of OpenSSH knows.
func bothOff(was, is string) bool {
	off := func(value string) bool { return value == "" || value == "no" || value == "none" }
	return off(was) && off(is)
}

// compareSettings judges what became of one user's settings.
func compareSettings(name string, before, now Login) Finding {
	if before.Account == nil {
		return finding(Sshd, Unknown, "there was no user %s before the trial", name)
	}
	if why := now.shutOut(); why != "" && before.shutOut() == "" {
		return finding(Sshd, Failed, "%s is shut out: %s", name, why)
	}
	var changed []string
	for _, key := range decisive {
		was, is := before.Settings.value(key), now.Settings.value(key)
		if was != is && !bothOff(was, is) {
			changed = append(changed, fmt.Sprintf("%s was %q, is %q", key, was, is))
		}
	}
	if was, is := before.Account, now.Account; was != nil && is != nil && *was != *is {
		changed = append(changed, "the account has another id, home or shell")
	}
	refused := 0
	for _, k := range before.Keys {
		if before.Settings.accepts(k.Type) && !now.Settings.accepts(k.Type) {
			refused++
			changed = append(changed, "keys of type "+k.Type+" are not accepted any more")
		}
	}
	changed = slices.Compact(changed)
	switch {
	case refused > 0 && refused == len(before.Keys):
		return finding(Sshd, Failed, "%s is shut out: %s", name, strings.Join(changed, "; "))
	case len(changed) > 0:
		return finding(Sshd, Changed, "for %s: %s", name, strings.Join(changed, "; "))
	}
	return finding(Sshd, Proven, "sshd lets %s in as before", name)
}
