package probe

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"
)

var (
	agentRefused = regexp.MustCompile(`(?i)statusCode = 40[13]|status code:? 40[13]|unauthorized|responseCode = 40[13]`)
	agentLocal   = regexp.MustCompile(`binary-caches\.json file does not exist|Error in \$|cluster-join-token|development version|[Pp]ermission denied|parse (error|failure)|No such file`)
	agentRemote  = regexp.MustCompile(`ConnectionFailure|ConnectionTimeout|ResponseTimeout|ConnectionError|getAddrInfo|Network\.Socket|HandshakeFailed|TlsException|InternalException|statusCode = 5\d\d|responseCode = 5\d\d|ConnectionClosed`)
)

// remoteSteps name the step on the way to the service at which a line of the
// agent's says that it stopped; the first that matches counts.
var remoteSteps = []struct {
	class   string
	pattern *regexp.Regexp
}{
	{"dns", regexp.MustCompile(`getAddrInfo|no such host|Name or service not known`)},
	{"tls", regexp.MustCompile(`HandshakeFailed|TlsException|tls:|x509:`)},
	{"http-5xx", regexp.MustCompile(`statusCode = 5\d\d|responseCode = 5\d\d`)},
	{"connect", regexp.MustCompile(`ConnectionFailure|ConnectionTimeout|ResponseTimeout|ConnectionError|Network\.Socket|ConnectionClosed`)},
}

// remoteHints are what to look at for each step.
var remoteHints = map[string]string{
	"dns":      "resolvectl query hercules-ci.com on the host; is its name service well?",
	"connect":  "is there a firewall on the way out to port 443? otherwise see status.hercules-ci.com",
	"tls":      "look at the host's clock and its CA certificates; otherwise see status.hercules-ci.com",
	"http-5xx": "the service itself is not well: see status.hercules-ci.com, then hdeploy probe again",
	"socket":   "the service does not keep the agent's connection: see status.hercules-ci.com, then hdeploy probe again",
}

// cause tells a fault of the host from one of the network or the service, which
// must not roll back a good system: what the agent printed first, then whether
// its endpoints can be reached at all.
func (v *agentVisit) cause(ctx context.Context, class, seen string, lines []string) finding {
	if line, ok := match(agentRefused, lines); ok {
		return fail("auth", agentExpected, seen).because(line).
			try("the service does not accept the agent's token: put a valid cluster join token in place")
	}
	died := class == "crash" || class == "self-test"
	if line, ok := match(agentLocal, lines); ok && died {
		return fail(class, agentExpected, seen).because(line).try(v.readLog())
	}
	line, remote := match(agentRemote, lines)
	if !remote && len(lines) > 0 {
		line = lines[len(lines)-1]
	}
	_, wasOnline := match(onlineLine, lines)
	if died && wasOnline && !remote {
		// It had reached the service, and died of itself.
		return fail(class, agentExpected, seen).because(line).try(v.readLog())
	}
	if step, err := v.outage(ctx); err != nil {
		return unknown(step, agentExpected, seen).because(err.Error()).try(remoteHints[step])
	}
	if remote || class == "socket" {
		step := stepOf(lines)
		return unknown(step, agentExpected, seen).because(line).try(remoteHints[step])
	}
	return fail(class, agentExpected, seen).because(line).try(v.readLog())
}

var onlineLine = regexp.MustCompile(regexp.QuoteMeta(agentOnline))

// stepOf is the step that the agent's lines speak of. Where they speak of none,
// the way is open, and it is the socket that the service does not keep.
func stepOf(lines []string) string {
	for _, step := range remoteSteps {
		if _, ok := match(step.pattern, lines); ok {
			return step.class
		}
	}
	return "socket"
}

func match(pattern *regexp.Regexp, lines []string) (string, bool) {
	i := slices.IndexFunc(lines, pattern.MatchString)
	if i < 0 {
		return "", false
	}
	return lines[i], true
}

// outageLimit bounds the look at the way to the service, so that the try still
// has time to say what it found.
const outageLimit = 5 * time.Second

// outage walks the way to the service step by step, to all of its addresses at
// once, and returns the first fault in their order.
func (h HerculesSpec) outage(ctx context.Context) (step string, err error) {
	ctx, done := context.WithTimeout(ctx, outageLimit)
	defer done()
	type fault struct {
		step string
		err  error
	}
	api, secure := h.apiAddress()
	faults := make([]fault, 1+len(h.Endpoints))
	finished := make(chan struct{})
	look := func(i int, walk func() (string, error)) {
		faults[i].step, faults[i].err = walk()
		finished <- struct{}{}
	}
	go look(0, func() (string, error) {
		if step, err := reach(ctx, api, secure); err != nil {
			return step, err
		}
		return answers(ctx, h.APIBaseURL)
	})
	for i, endpoint := range h.Endpoints {
		go look(i+1, func() (string, error) { return reach(ctx, endpoint, true) })
	}
	for range faults {
		<-finished
	}
	for _, f := range faults {
		if f.err != nil {
			return f.step, f.err
		}
	}
	return "", nil
}

// reach resolves a name, connects, and agrees on TLS where that is wanted.
func reach(ctx context.Context, address string, secure bool) (step string, err error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return "dns", err
	}
	if _, err := net.DefaultResolver.LookupHost(ctx, host); err != nil {
		return "dns", fmt.Errorf("%s: %w", address, err)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return "connect", fmt.Errorf("%s: %w", address, err)
	}
	defer conn.Close()
	if !secure {
		return "", nil
	}
	client := tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host})
	if err := client.HandshakeContext(ctx); err != nil {
		return "tls", fmt.Errorf("%s: %w", address, err)
	}
	return "", nil
}

// answers asks the service for anything: every answer but a server's error will do.
func answers(ctx context.Context, url string) (step string, err error) {
	answer, err := get(ctx, url, "")
	if err != nil {
		return "connect", err
	}
	defer answer.Body.Close()
	if answer.StatusCode >= 500 {
		return "http-5xx", fmt.Errorf("%s answered %s", url, answer.Status)
	}
	return "", nil
}

// get asks over a connection of its own, without redirects or a proxy.
func get(ctx context.Context, url, token string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", "hdeploy-probe")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return client.Do(request)
}

func portOf(address string) int {
	_, port, _ := net.SplitHostPort(address)
	n, _ := strconv.Atoi(port)
	return n
}
