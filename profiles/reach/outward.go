package reach

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hbohlen/hdeploy/profiles/probe"
)

// outwardAddress reads "https://NAME[:PORT]".
func outwardAddress(place string) (address, name string, err error) {
	u, err := url.Parse(place)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" {
		return "", "", fmt.Errorf("%q is not https://NAME[:PORT]", probe.Clean(place))
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(u.Hostname(), port), u.Hostname(), nil
}

// outwardTries are made of each place, outwardLimit is the time of one.
const (
	outwardTries = 2
	outwardLimit = 4 * time.Second
)

// reachOutward resolves the name, connects and agrees on TLS with a valid certificate. A
// proxy that the host may be set up for is passed by.
func reachOutward(ctx context.Context, place string) error {
	address, name, err := outwardAddress(place)
	if err != nil {
		return err
	}
	for range outwardTries {
		if err = dialTLS(ctx, address, name); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

func dialTLS(ctx context.Context, address, name string) error {
	ctx, cancel := context.WithTimeout(ctx, outwardLimit)
	defer cancel()
	dialer := tls.Dialer{NetDialer: &net.Dialer{Resolver: &net.Resolver{PreferGo: true}}, Config: &tls.Config{ServerName: name, MinVersion: tls.VersionTLS12}}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// askOutward is what became of each place; nil for one that was reached.
func askOutward(ctx context.Context, places []string) map[string]error {
	answers := map[string]error{}
	var lock sync.Mutex
	var asking sync.WaitGroup
	for _, place := range places[:min(len(places), mostAsked)] {
		asking.Go(func() {
			err := reachOutward(ctx, place)
			lock.Lock()
			defer lock.Unlock()
			answers[place] = err
		})
	}
	asking.Wait()
	return answers
}

// reachedOutward are the places that were reached, sorted.
func reachedOutward(ctx context.Context, places []string) []string {
	var reached []string
	for place, err := range askOutward(ctx, places) {
		if err == nil {
			reached = append(reached, place)
		}
	}
	slices.Sort(reached)
	return reached
}

// compareOutward judges what the host reaches. The fault of somebody else's cloud is
// none of the host's; that no name is found any more is.
func compareOutward(before []string, answers map[string]error) Finding {
	var lost, lostBefore []string
	inDNS := 0
	for place, err := range answers {
		said := fmt.Sprintf("%s: %v", place, err)
		switch {
		case err == nil:
		case !slices.Contains(before, place):
			lostBefore = append(lostBefore, said)
		default:
			lost = append(lost, said)
			var dns *net.DNSError
			if errors.As(err, &dns) {
				inDNS++
			}
		}
	}
	slices.Sort(lost)
	slices.Sort(lostBefore)
	switch {
	case len(lost) > 0 && inDNS == len(lost) && len(lost)+len(lostBefore) == len(answers):
		return finding(Outward, Failed, "no name is resolved any more: %s", strings.Join(lost, "; "))
	case len(lost) > 0:
		return finding(Outward, Changed, "not reached any more: %s", strings.Join(lost, "; "))
	case len(lostBefore) > 0:
		return finding(Outward, Unknown, "not reached before either: %s", strings.Join(lostBefore, "; "))
	}
	return finding(Outward, Proven, "reached without a proxy: %s", count(len(answers), "place"))
}
