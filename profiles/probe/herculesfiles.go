package probe

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"
)

// secrets is the directory with the agent's secrets.
func (h HerculesSpec) secrets() string { return filepath.Join(h.BaseDirectory, "secrets") }

// files looks at what the agent needs to start, without a byte of it leaving.
func (v *agentVisit) files() {
	v.flaw(v.BaseDirectory, v.traversable(v.BaseDirectory))
	v.flaw(v.secrets(), checkPrivate(v.secrets(), v.User, true))
	if f := checkPrivate(v.TokenPath, v.User, false); f.found() {
		v.flaw(v.TokenPath, f)
	} else {
		v.flaw(v.TokenPath, shapeOf(v.TokenPath, "token-shape", v.TokenPath+" holds one cluster join token",
			"copy the cluster join token anew from the Hercules CI dashboard", tokenFlaw))
	}
	if f := checkPrivate(v.CachesPath, v.User, false); f.found() {
		v.flaw(v.CachesPath, f)
		return
	}
	v.flaw(v.CachesPath, shapeOf(v.CachesPath, "caches-shape", v.CachesPath+" holds caches of kind CachixCache or NixCache",
		"see binary-caches.json in the documentation of Hercules CI", func(content []byte) string {
			problem, note := cachesFlaw(content)
			if note != "" {
				v.note("%s", note)
			}
			return problem
		}))
}

// flaw adds what is wrong with a file. It is certain where nothing is under way
// that may still write it.
func (v *agentVisit) flaw(path string, f flaw) {
	if !f.found() {
		return
	}
	found := f.finding()
	if found.hint == "" {
		found.hint = "is the file among services.onepassword-secrets.secrets? then systemctl status opnix-secrets.service"
	}
	if v.host.Baseline.flawIsOld(path, f) && !v.hasNewText() {
		v.old = append(v.old, found)
		return
	}
	v.add(found.surely(v.busy() == ""))
}

// hasNewText says that the agent still runs with what an older unit file told it, so
// that its being well says nothing of the files that the new one names.
func (v *agentVisit) hasNewText() bool {
	b := v.host.Baseline
	return b.untouched(v.unit) && b.textChanged(v.unit)
}

// shapeOf judges a file that can be read by its content alone.
func shapeOf(path, class, expected, hint string, judge func([]byte) string) flaw {
	content, err := readSecret(path)
	if err != nil {
		return flaw{"unreadable", path + " can be read", "it cannot: " + err.Error(), ""}
	}
	if problem := judge(content); problem != "" {
		return flaw{class, expected, problem, hint}
	}
	return flaw{}
}

// traversable wants a directory, and all above it, open to the agent's user.
func (v *agentVisit) traversable(path string) flaw {
	account, err := user.Lookup(v.User)
	if err != nil {
		if account, err = user.LookupId(v.User); err != nil {
			return flaw{} // told of the files
		}
	}
	groups, err := account.GroupIds()
	if err != nil {
		groups = []string{account.Gid}
	}
	for _, dir := range ancestors(path) {
		info, err := os.Stat(dir)
		if err != nil {
			return flaw{"base-directory", dir + " exists", "it does not", "systemd-tmpfiles --create; look at users.users." + v.User + ".home"}
		}
		if info.IsDir() && !mayEnter(info, account.Uid, groups) {
			return flaw{"base-directory", v.User + " can enter " + dir, fmt.Sprintf("mode %04o of another owner keeps it out", modeOf(info)),
				"chown " + v.User + ": " + dir + ", or chmod 0711 " + dir}
		}
	}
	return flaw{}
}

// ancestors are a path and what is above it, the root first.
func ancestors(path string) []string {
	all := []string{path}
	for path != filepath.Dir(path) {
		path = filepath.Dir(path)
		all = append(all, path)
	}
	slices.Reverse(all)
	return all
}

// mayEnter says whether the bits of a directory let a user in.
func mayEnter(info fs.FileInfo, uid string, groups []string) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || uid == "0" {
		return true
	}
	number := func(id uint32) string { return strconv.FormatUint(uint64(id), 10) }
	bit := uint32(0o001)
	switch {
	case number(stat.Uid) == uid:
		bit = 0o100
	case slices.Contains(groups, number(stat.Gid)):
		bit = 0o010
	}
	return stat.Mode&bit != 0
}

// session judges the key that the agent keeps from its first contact. Without
// one, or with its placeholder, an agent is not online: it asks for a session
// first, and looks whether the key was stored.
func (v *agentVisit) session() {
	path := filepath.Join(v.BaseDirectory, "secretState/session.key")
	expected := path + " holds the agent's session"
	content, err := readSecret(path)
	switch key := bytes.TrimSpace(content); {
	case err != nil:
		v.add(fail("no-session", expected, "it cannot be read: "+err.Error()).
			try("is base_directory the agent's? otherwise systemctl restart " + v.Unit))
		return
	case len(key) == 0 || string(key) == "x":
		v.add(fail("no-session", expected, "it is empty").try("systemctl restart " + v.Unit))
		return
	}
	if info, err := os.Stat(path); err == nil && modeOf(info)&0o077 != 0 {
		v.note("%s has mode %04o; it is a secret", path, modeOf(info))
	}
}

// tokenFlaw says what is wrong with a cluster join token, without quoting it;
// empty for nothing. It is a JSON Web Token whose subject begins with "t$".
func tokenFlaw(content []byte) string {
	if !isToken(content) {
		return "it is no token of three parts"
	}
	part := strings.TrimRight(strings.Split(string(bytes.TrimSpace(content)), ".")[1], "=")
	payload, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		payload, err = base64.RawStdEncoding.DecodeString(part)
	}
	var claims struct {
		Sub *string `json:"sub"`
	}
	switch {
	case err != nil || json.Unmarshal(payload, &claims) != nil:
		return "its middle part is no JSON"
	case claims.Sub == nil:
		return "it has no subject"
	case !strings.HasPrefix(*claims.Sub, "t$"):
		return "its subject is not that of a cluster join token; perhaps it is another token"
	}
	return ""
}

// What may be wrong with a binary-caches.json.
const (
	noCaches   = "it is not a JSON object"
	apiVersion = "apiVersion is not allowed"
	noObject   = "not an object"
	noKind     = "kind is missing"
	badCachix  = "a CachixCache needs publicKeys, a list of strings; signingKeys, a list, and authToken, a string, are optional"
	badNix     = "a NixCache needs storeURI, a string, and publicKeys and signingKeys, lists of strings"
)

// cachesFlaw says what is wrong with a binary-caches.json, and what the agent
// puts up with; in counts and names of the format alone, empty for nothing. The
// format is that of Hercules CI's documentation: an object of entries that each
// name their kind. The agent passes over kinds that it does not know.
func cachesFlaw(content []byte) (problem, note string) {
	var caches map[string]json.RawMessage
	if !utf8.Valid(content) || json.Unmarshal(content, &caches) != nil || caches == nil {
		return noCaches, ""
	}
	if _, found := caches["apiVersion"]; found {
		return apiVersion, ""
	}
	bad, ignored := map[string]int{}, 0
	for _, raw := range caches {
		problem, known := cacheFlaw(raw)
		if problem != "" {
			bad[problem]++
		} else if !known {
			ignored++
		}
	}
	for _, problem := range []string{noObject, noKind, badCachix, badNix} {
		if n := bad[problem]; n > 0 {
			return fmt.Sprintf("%d of %d entries: %s", n, len(caches), problem), ""
		}
	}
	switch {
	case len(caches) == 0:
		note = "binary-caches.json has no caches"
	case ignored > 0:
		note = fmt.Sprintf("%d of %d entries of binary-caches.json are ignored: their kind is neither CachixCache nor NixCache", ignored, len(caches))
	}
	return "", note
}

// cacheFlaw judges an entry; known says that its kind is not ignored.
func cacheFlaw(raw json.RawMessage) (problem string, known bool) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil || fields == nil {
		return noObject, false
	}
	var kind *string
	if json.Unmarshal(fields["kind"], &kind) != nil || kind == nil {
		return noKind, false
	}
	switch *kind {
	case "CachixCache":
		var token *string
		optional := func(key string) bool { return fields[key] == nil || string(fields[key]) == "null" }
		if !isStrings(fields["publicKeys"]) || !optional("signingKeys") && !isStrings(fields["signingKeys"]) ||
			!optional("authToken") && json.Unmarshal(fields["authToken"], &token) != nil {
			return badCachix, true
		}
	case "NixCache":
		var uri *string
		if json.Unmarshal(fields["storeURI"], &uri) != nil || uri == nil || !isStrings(fields["publicKeys"]) || !isStrings(fields["signingKeys"]) {
			return badNix, true
		}
	default:
		return "", false
	}
	return "", true
}
