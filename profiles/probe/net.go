package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"syscall"
	"time"
)

// HTTPSpec asks for one answer to a GET request. TLS certificates are
// verified against the roots of the machine that asks; proxies are not used.
type HTTPSpec struct {
	URL string `json:"url"`
	// Status is the wanted status code; zero for any from 200 to 299.
	Status int `json:"status,omitempty"`
	// Body is a regular expression (RE2) that the first MiB of the body must
	// match; empty for any.
	Body string `json:"body,omitempty"`
	// FollowRedirects goes up to ten redirects far; otherwise a redirect is an
	// answer like any other.
	FollowRedirects bool `json:"follow_redirects,omitempty"`
}

// TCPSpec asks whether something accepts connections. The connection is closed
// at once, without a byte sent. Do not use it on sshd's port: sshd takes that
// for a broken client, logs it, and from OpenSSH 9.8 on locks the address out
// after a few of them (PerSourcePenalties).
type TCPSpec struct {
	// Address is host:port.
	Address string `json:"address"`
}

func (h *HTTPSpec) validate() error {
	u, err := url.Parse(h.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("url must be an absolute http or https URL")
	}
	if u.User != nil {
		return errors.New("url must not hold a user name or password")
	}
	if h.Status != 0 && (h.Status < 100 || h.Status > 599) {
		return fmt.Errorf("status must be from 100 to 599, not %d", h.Status)
	}
	return validPattern("body", h.Body)
}

// bodyLimit caps what is read of an answer.
const bodyLimit = 1 << 20

func tcpKind() kind {
	return kind{
		About: About{
			Kind: KindTCP, Vantages: []string{FromHost, FromDeployer}, Text: "something accepts connections at an address",
			Params: []Param{{Name: "address", Type: Text, Required: true, Text: "host:port; not sshd's, which punishes connections without a login"}},
		},
		question: func() Question { return &TCPSpec{} },
	}
}

func (t *TCPSpec) validate() error { return validAddress(t.Address) }

func (*TCPSpec) units() []string { return nil }

func (t *TCPSpec) try(ctx context.Context, a attempt) finding {
	expected := t.Address + " accepts connections"
	began := time.Now()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", t.Address)
	if err != nil {
		return a.unreached(expected, err)
	}
	_ = conn.Close() // nothing was sent that could be lost
	return pass(expected, "accepted in "+since(began))
}

func httpKind() kind {
	return kind{
		About: About{
			Kind: KindHTTP, Vantages: []string{FromHost, FromDeployer}, Text: "a GET request is answered as wanted",
			Params: []Param{
				{Name: "url", Type: Text, Required: true, Text: "an absolute http or https URL"},
				{Name: "status", Type: Number, Default: "200 to 299", Text: "the wanted status code"},
				{Name: "body", Type: Text, Text: "a regular expression that the first MiB of the body matches"},
				{Name: "follow_redirects", Type: Flag, Default: "false", Text: "go where a redirect leads, up to ten times"},
			},
		},
		question: func() Question { return &HTTPSpec{} },
	}
}

func (*HTTPSpec) units() []string { return nil }

func (h *HTTPSpec) try(ctx context.Context, a attempt) finding {
	expected := h.expected()
	transport := &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	if !h.FollowRedirects {
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, h.URL, nil)
	if err != nil {
		return unknown("invalid", expected, "the URL cannot be asked")
	}
	request.Header.Set("User-Agent", "hdeploy-probe")
	began := time.Now()
	answer, err := client.Do(request)
	if err != nil {
		return a.unreached(expected, err)
	}
	defer answer.Body.Close()
	return h.judge(expected, answer, began)
}

func (h *HTTPSpec) judge(expected string, answer *http.Response, began time.Time) finding {
	seen := "status " + answer.Status
	if !h.wanted(answer.StatusCode) {
		f := fail("status", expected, seen)
		if to, err := answer.Location(); err == nil {
			return f.because("redirected to " + short(to))
		}
		return f
	}
	if h.Body == "" {
		return pass(expected, seen+" in "+since(began))
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, bodyLimit))
	if err != nil {
		return fail("body", expected, seen+", but the body broke off").because(err.Error())
	}
	pattern, err := regexp.Compile(h.Body)
	if err != nil || !pattern.Match(body) {
		return fail("body", expected, fmt.Sprintf("%s, but the body of %d bytes does not match", seen, len(body)))
	}
	return pass(expected, seen+" and a matching body in "+since(began))
}

func (h *HTTPSpec) wanted(status int) bool {
	if h.Status == 0 {
		return status >= 200 && status <= 299
	}
	return status == h.Status
}

func (h *HTTPSpec) expected() string {
	what := "status 2xx"
	if h.Status != 0 {
		what = fmt.Sprintf("status %d", h.Status)
	}
	if h.Body != "" {
		what += " and a body that matches " + h.Body
	}
	if u, err := url.Parse(h.URL); err == nil {
		what += " from " + short(u)
	}
	return what
}

// short is a URL without its query, which may hold a key.
func short(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

func since(began time.Time) string {
	return time.Since(began).Round(time.Millisecond).String()
}

// unreached judges a connection that failed. What only says that the deployer
// has no name service or no network says nothing of the host.
func (a attempt) unreached(expected string, err error) finding {
	class, seen := networkFault(err)
	f := fail(class, expected, seen)
	if a.From == FromDeployer && (class == "dns" || class == "no-route") {
		f = unknown(class, expected, seen)
	}
	var inner *url.Error
	if errors.As(err, &inner) {
		err = inner.Err // its own text repeats the URL with its query
	}
	return f.because(err.Error())
}

// networkFault names why a connection failed.
func networkFault(err error) (class, seen string) {
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &dns):
		return "dns", "the name was not resolved"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused", "the connection was refused"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "no-route", "there is no way to the address"
	case errors.As(err, &certificate), errors.As(err, &authority):
		return "tls", "the certificate was not accepted"
	case errors.As(err, &record), errors.As(err, &alert), errors.Is(err, http.ErrSchemeMismatch):
		return "tls", "TLS was not agreed on"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout", "there was no answer in time"
	}
	return "connection", "the connection failed"
}
