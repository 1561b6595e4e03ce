package reach

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
)

// prover makes the looks of one proof.
type prover struct {
	Host
	q      Question
	before Survey
}

func (p prover) listening(ctx context.Context) Finding {
	now, err := listeners(ctx, p.before.Ports)
	if err != nil {
		return finding(Listening, Changed, "it could be read before the trial, and cannot be any more: %v", err)
	}
	return compareListening(p.before.Listeners, now)
}

// compareListening judges the sockets on which ssh is listened for.
func compareListening(before, now []netip.AddrPort) Finding {
	var gone []string
	for _, b := range before {
		if slices.Contains(now, b) {
			continue
		}
		left := slices.DeleteFunc(slices.Clone(now), func(n netip.AddrPort) bool { return n.Port() != b.Port() })
		outside := slices.ContainsFunc(left, func(n netip.AddrPort) bool { return !n.Addr().IsLoopback() })
		switch {
		case len(left) == 0:
			return finding(Listening, Failed, "nothing listens on port %d any more", b.Port())
		case !outside && !b.Addr().IsLoopback():
			return finding(Listening, Failed, "port %d is only listened on at %s", b.Port(), list(left))
		}
		gone = append(gone, b.String())
	}
	if len(gone) > 0 {
		return finding(Listening, Changed, "not listened on any more: %s", strings.Join(gone, ", "))
	}
	return finding(Listening, Proven, "%s", list(before))
}

func list(addresses []netip.AddrPort) string {
	texts := make([]string, len(addresses))
	for i, a := range addresses {
		texts[i] = a.String()
	}
	return strings.Join(texts, ", ")
}

// handshake knocks at each port. Those who know the host know the keys of before.
func (p prover) handshake(ctx context.Context) Finding {
	ssh, ok := p.has("ssh")
	switch {
	case !ok:
		return finding(Handshake, Unknown, "the host has no ssh client")
	case len(p.before.HostKeys) == 0:
		return finding(Handshake, Unknown, "the public halves of the host keys cannot be read")
	}
	sockets, err := listeners(ctx, p.before.Ports)
	if err != nil {
		return finding(Handshake, Unknown, "%v", err)
	}
	var findings []Finding
	for _, port := range p.before.Ports {
		at, ok := knockable(sockets, port)
		if !ok {
			findings = append(findings, finding(Handshake, Failed, "nothing listens on port %d", port))
			continue
		}
		k := Knock{Address: at.Addr().String(), Port: at.Port(), User: p.q.users()[0], HostKeys: p.before.HostKeys}
		if err := k.Do(ctx, ssh, p.Dir); err != nil {
			findings = append(findings, unlessCut(ctx, finding(Handshake, Failed, "%v", err)))
			continue
		}
		findings = append(findings, finding(Handshake, Proven, "sshd shows a host key of before at %s", at))
	}
	return all(Handshake, findings)
}

// logins calls compare for each user with how it was and how it is.
func (p prover) logins(ctx context.Context, d daemon, name string, compare func(user string, before, now Login) Finding) Finding {
	var findings []Finding
	for _, user := range p.q.users() {
		now, err := d.login(ctx, user, cmp.Or(p.before.From, testAddress))
		if err != nil {
			return unlessCut(ctx, finding(name, Failed, "%v", err))
		}
		findings = append(findings, compare(user, p.before.Logins[user], now))
	}
	return all(name, findings)
}

func (p prover) sshd(ctx context.Context) Finding {
	d, err := p.daemon(ctx)
	if err != nil {
		return unlessCut(ctx, finding(Sshd, Failed, "%v", err))
	}
	return all(Sshd, []Finding{p.logins(ctx, d, Sshd, compareSettings), compareHostKeys(p.before.HostKeys, d.hostKeys())})
}

// compareHostKeys misses none: who knows the host by one key alone does not believe
// another. A handshake ends with any of those of before.
func compareHostKeys(before, now []string) Finding {
	var gone []string
	for _, key := range before {
		if k, ok := parseKey(key); ok && !slices.Contains(now, key) {
			gone = append(gone, k.Type+" "+k.Fingerprint)
		}
	}
	if len(gone) > 0 {
		return finding(Sshd, Changed, "host keys that are not shown any more: %s", strings.Join(gone, ", "))
	}
	return finding(Sshd, Proven, "host keys are as before")
}

func (p prover) keys(ctx context.Context) Finding {
	d, err := p.daemon(ctx)
	if err != nil {
		return unlessCut(ctx, finding(Keys, Failed, "%v", err))
	}
	return p.logins(ctx, d, Keys, compareKeys)
}

func (p prover) filter(ctx context.Context) Finding {
	now, err := p.readFilter(ctx, p.before.Ports)
	if err != nil {
		return finding(Filter, Changed, "it could be read before the trial, and cannot be any more: %v", err)
	}
	return compareFilter(p.before.Filter, now)
}

func (p prover) network(context.Context) Finding {
	now, err := readNetwork()
	if err != nil {
		return finding(Network, Changed, "it could be read before the trial, and cannot be any more: %v", err)
	}
	return compareNetwork(p.before.Network, now)
}

func (p prover) outward(ctx context.Context) Finding {
	return compareOutward(p.before.Outward, askOutward(ctx, p.q.Outward))
}
