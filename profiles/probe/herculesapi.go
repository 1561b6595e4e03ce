package probe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"regexp"
	"strings"
	"syscall"
)

// accountID is what an account's id may consist of: it becomes part of a path.
var accountID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func (h *HerculesSpec) validateAPI() error {
	var errs []error
	if h.APIBaseURL != "" {
		u, err := url.Parse(h.APIBaseURL)
		if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
			errs = append(errs, errors.New("api_base_url must be an absolute http or https URL without a user"))
		}
	}
	if (h.Account == "") != (h.APITokenFile == "") {
		errs = append(errs, errors.New("account and api_token_file belong together"))
	}
	if h.Account != "" && !accountID.MatchString(h.Account) {
		errs = append(errs, errors.New("account must be the account's id"))
	}
	if len(h.Hostname) > 253 {
		errs = append(errs, errors.New("hostname must be at most 253 bytes"))
	}
	return errors.Join(append(errs, validPath("api_token_file", h.APITokenFile))...)
}

// askService lets the service itself say whether it sees the agent. What it
// cannot say is only noted: the agent's own account was good.
func (v *agentVisit) askService(ctx context.Context) {
	if v.APITokenFile == "" {
		return
	}
	name := v.Hostname
	if name == "" {
		name, _ = os.Hostname()
	}
	switch f := v.seenByService(ctx, name); f.verdict {
	case Fail:
		v.add(f)
	case Unknown:
		v.note("the service was not asked: %s", strings.TrimSuffix(f.seen+": "+f.evidence, ": "))
	default:
		v.note("%s", f.seen)
	}
}

const serviceExpected = "the service sees the agent and can give it work"

// seenByService asks Hercules CI's API for the account's agents.
func (h HerculesSpec) seenByService(ctx context.Context, hostname string) finding {
	if h.Account == "" || hostname == "" {
		return unknown("invalid", serviceExpected, "account, api_token_file and hostname are needed to ask")
	}
	token, err := readAPIToken(h.APITokenFile)
	if err != nil {
		return unknown("api-token", serviceExpected, "the API token cannot be used").because(err.Error()).
			try("write a token of hci login into it, chmod 0600")
	}
	if !h.mayCarryToken() {
		return unknown("api-token", serviceExpected, "api_base_url is not https, and the token is not sent in clear")
	}
	answer, err := get(ctx, strings.TrimSuffix(h.APIBaseURL, "/")+"/api/v1/accounts/"+h.Account+"/agentSessions", token)
	if err != nil {
		class, seen := networkFault(err)
		return unknown(class, serviceExpected, seen).because(err.Error())
	}
	defer answer.Body.Close()
	switch {
	case answer.StatusCode == 401 || answer.StatusCode == 403:
		return unknown("api-token", serviceExpected, "the service answered "+answer.Status).try("the API token is not accepted for this account: hci login")
	case answer.StatusCode >= 500:
		return unknown("http-5xx", serviceExpected, "the service answered "+answer.Status).try(remoteHints["http-5xx"])
	case answer.StatusCode != 200:
		return unknown("api", serviceExpected, "the service answered "+answer.Status).try("compare account with the id at the service")
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, bodyLimit))
	if err != nil {
		return unknown("api", serviceExpected, "the answer broke off").because(err.Error())
	}
	return judgeSessions(body, hostname)
}

// mayCarryToken says that nobody on the way can read a request: it is encrypted,
// or does not leave the machine.
func (h HerculesSpec) mayCarryToken() bool {
	address, secure := h.apiAddress()
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return secure || err == nil && ip != nil && ip.IsLoopback()
}

// agentSession is what is read of an entry of the API's agentSessions.
type agentSession struct {
	Hostname   string  `json:"hostname"`
	Available  bool    `json:"available"`
	LastSeen   *string `json:"lastSeen"`
	Version    string  `json:"agentVersion"`
	Revocation *string `json:"revocation"`
}

// judgeSessions looks for the agent of a host in the API's answer.
func judgeSessions(body []byte, hostname string) finding {
	var sessions []agentSession
	if err := json.Unmarshal(body, &sessions); err != nil {
		return unknown("api", serviceExpected, "the service's answer is not the list that was asked for")
	}
	seen := ""
	for _, s := range sessions {
		if !strings.EqualFold(s.Hostname, hostname) || s.Revocation != nil {
			continue
		}
		if s.Available {
			return pass(serviceExpected, fmt.Sprintf("the service sees %s, agent %s, available", hostname, s.Version))
		}
		seen = "the service last saw " + hostname + " at " + value(s.LastSeen) + ", and not now"
	}
	if seen == "" {
		return fail("not-seen", serviceExpected, fmt.Sprintf("the service knows no agent of %s among %d", hostname, len(sessions))).
			try("does the cluster join token belong to this account?")
	}
	return fail("not-available", serviceExpected, seen).try("journalctl -u hercules-ci-agent.service -e")
}

// readAPIToken reads a token from a file that nobody else can read. No error
// holds a byte of it.
func readAPIToken(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a regular file", path)
	case modeOf(info)&0o077 != 0:
		return "", fmt.Errorf("%s has mode %04o, and others may read it", path, modeOf(info))
	case ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid():
		return "", fmt.Errorf("%s belongs to somebody else", path)
	}
	content, err := readSecret(path)
	if err != nil {
		return "", err
	}
	content = bytes.TrimSpace(content)
	if len(content) == 0 || len(content) > longestArgument || bytes.ContainsFunc(content, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("%s does not hold one token", path)
	}
	return string(content), nil
}
