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
	"slices"
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
	// Headers must all be in the answer.
	Headers []Header `json:"headers,omitempty"`
	// TLSDaysLeft is how many days the server's certificate must still be valid
	// at least; zero for any that is valid.
	TLSDaysLeft int `json:"tls_days_left,omitempty"`
	// FollowRedirects goes up to ten redirects far; otherwise a redirect is an
	// answer like any other.
	FollowRedirects bool `json:"follow_redirects,omitempty"`
}

// Header is a header of an answer with a value that matches a regular
// expression (RE2); empty for any. Where the header comes more than once, one
// value suffices.
type Header struct {
	Name    string `json:"name"`
	Pattern string `json:"pattern,omitempty"`
}

// TCPSpec asks whether something accepts connections, and with TLS whether it
// shows a certificate that is valid for its name and that the roots of the
// machine that asks vouch for. The connection is closed at once; without TLS not
// a byte is sent. Do not use it on sshd's port: sshd takes that
// for a broken client, logs it, and from OpenSSH 9.8 on locks the address out
// after a few of them (PerSourcePenalties).
type TCPSpec struct {
	// Address is host:port.
	Address string `json:"address"`
	TLS     bool   `json:"tls,omitempty"`
	// TLSName is the name in the certificate, if not the address's host.
	TLSName string `json:"tls_name,omitempty"`
	// TLSDaysLeft is as in [HTTPSpec].
	TLSDaysLeft int `json:"tls_days_left,omitempty"`
}

func (h *HTTPSpec) validate() error {
	var errs []error
	u, err := url.Parse(h.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		errs = append(errs, errors.New("url must be an absolute http or https URL"))
	case u.User != nil:
		errs = append(errs, errors.New("url must not hold a user name or password"))
	case h.TLSDaysLeft > 0 && u.Scheme != "https":
		errs = append(errs, errors.New("only https has tls_days_left"))
	}
	if h.Status != 0 && (h.Status < 100 || h.Status > 599) {
		errs = append(errs, fmt.Errorf("status must be from 100 to 599, not %d", h.Status))
	}
	if len(h.Headers) > mostHeaders {
		errs = append(errs, fmt.Errorf("headers must be at most %d", mostHeaders))
	}
	for _, header := range h.Headers {
		if !headerName.MatchString(header.Name) {
			errs = append(errs, fmt.Errorf("headers: %q is not the name of a header", clean(header.Name)))
		}
		errs = append(errs, validPattern("headers: the pattern of "+clean(header.Name), header.Pattern))
	}
	return errors.Join(append(errs, validDays(h.TLSDaysLeft), validPattern("body", h.Body))...)
}

const mostHeaders = 64

// headerName is a token of RFC 9110.
var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$")

func validDays(days int) error {
	if days < 0 || days > 3650 {
		return fmt.Errorf("tls_days_left must be from 0 to 3650, not %d", days)
	}
	return nil
}

// bodyLimit caps what is read of an answer.
const bodyLimit = 1 << 20

func tcpKind() kind {
	return kind{
		About: About{
			Kind: KindTCP, Vantages: []string{FromHost, FromDeployer}, Text: "something accepts connections at an address",
			Params: []Param{
				{Name: "address", Type: Text, Required: true, Text: "host:port; not sshd's, which punishes connections without a login"},
				{Name: "tls", Type: Flag, Default: "false", Text: "TLS is agreed on, with a certificate that the roots of the machine that asks vouch for"},
				{Name: "tls_name", Type: Text, Default: "the address's host", Text: "the name that the certificate is for"},
				{Name: "tls_days_left", Type: Number, Default: "0", Text: "the certificate is valid for this many days more at least"},
			},
		},
		question: func() Question { return &TCPSpec{} },
	}
}

func (t *TCPSpec) validate() error {
	var errs []error
	if !t.TLS && (t.TLSName != "" || t.TLSDaysLeft != 0) {
		errs = append(errs, errors.New("tls_name and tls_days_left need tls = true"))
	}
	if len(t.TLSName) > 253 || clean(t.TLSName) != t.TLSName {
		errs = append(errs, fmt.Errorf("tls_name must be a name, not %q", clean(t.TLSName)))
	}
	return errors.Join(append(errs, validDays(t.TLSDaysLeft), validAddress("address", t.Address))...)
}

func (*TCPSpec) units() []string { return nil }

func (t *TCPSpec) try(ctx context.Context, a attempt) finding {
	if t.TLS {
		return t.tryTLS(ctx, a)
	}
	expected := t.Address + " accepts connections"
	began := time.Now()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", t.Address)
	if err != nil {
		return a.unreached(expected, err)
	}
	_ = conn.Close() // nothing was sent that could be lost
	return pass(expected, "accepted in "+since(began))
}

func (t *TCPSpec) tryTLS(ctx context.Context, a attempt) finding {
	expected := t.Address + " agrees on TLS"
	if t.TLSName != "" {
		expected += " as " + t.TLSName
	}
	began := time.Now()
	dialer := tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.TLSName}}
	conn, err := dialer.DialContext(ctx, "tcp", t.Address)
	if err != nil {
		return a.unreached(expected, err)
	}
	_ = conn.Close() // only the handshake was wanted
	if f := tooShort(conn.(*tls.Conn).ConnectionState(), t.TLSDaysLeft); f.verdict != "" {
		return f
	}
	return pass(expected, "agreed in "+since(began))
}

// tooShort is a finding where the certificate, by the way to a root that lasts
// longest, ends sooner than wanted: a server may send an old way beside the new one.
func tooShort(state tls.ConnectionState, days int) finding {
	if days == 0 || len(state.VerifiedChains) == 0 {
		return finding{}
	}
	var end time.Time
	for _, chain := range state.VerifiedChains {
		if last := endOf(chain); last.After(end) {
			end = last
		}
	}
	if left := time.Until(end); left < time.Duration(days)*24*time.Hour {
		return fail("tls-expiry", fmt.Sprintf("the certificate is valid for %d days more", days),
			fmt.Sprintf("it is valid until %s, %d days", end.UTC().Format(time.DateOnly), int(left.Hours()/24)))
	}
	return finding{}
}

// endOf is when the first certificate of a chain ends.
func endOf(chain []*x509.Certificate) time.Time {
	end := chain[0].NotAfter
	for _, certificate := range chain {
		if certificate.NotAfter.Before(end) {
			end = certificate.NotAfter
		}
	}
	return end
}

func httpKind() kind {
	return kind{
		About: About{
			Kind: KindHTTP, Vantages: []string{FromHost, FromDeployer}, Text: "a GET request is answered as wanted",
			Params: []Param{
				{Name: "url", Type: Text, Required: true, Text: "an absolute http or https URL"},
				{Name: "status", Type: Number, Default: "200 to 299", Text: "the wanted status code"},
				{Name: "body", Type: Text, Text: "a regular expression that the first MiB of the body matches"},
				{Name: "headers", Type: Tables, Text: "headers that the answer has", Of: []Param{
					{Name: "name", Type: Text, Required: true, Text: "the header's name"},
					{Name: "pattern", Type: Text, Text: "a regular expression that one of its values matches"},
				}},
				{Name: "tls_days_left", Type: Number, Default: "0", Text: "the certificate is valid for this many days more at least"},
				{Name: "follow_redirects", Type: Flag, Default: "false", Text: "go where a redirect leads, up to ten times"},
			},
		},
		question: func() Question { return &HTTPSpec{} },
	}
}

func (*HTTPSpec) units() []string { return nil }

func (h *HTTPSpec) try(ctx context.Context, a attempt) finding {
	expected := h.expected()
	transport := &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10}
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
	for _, header := range h.Headers {
		if !header.in(answer.Header) {
			return fail("header", expected, fmt.Sprintf("%s, but no header %s that matches %q", seen, header.Name, header.Pattern))
		}
	}
	if h.TLSDaysLeft > 0 && answer.TLS == nil {
		return fail("tls", expected, "it was redirected to where there is no TLS")
	}
	if answer.TLS != nil {
		if f := tooShort(*answer.TLS, h.TLSDaysLeft); f.verdict != "" {
			return f
		}
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

func (h Header) in(headers http.Header) bool {
	pattern, err := regexp.Compile(h.Pattern)
	return err == nil && slices.ContainsFunc(headers.Values(h.Name), pattern.MatchString)
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
	for _, header := range h.Headers {
		what += ", header " + header.Name
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
	var invalid x509.CertificateInvalidError
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
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "tls-expired", "the certificate is not valid at this time"
	case errors.As(err, &certificate), errors.As(err, &authority):
		return "tls", "the certificate was not accepted"
	case errors.As(err, &record), errors.As(err, &alert), errors.Is(err, http.ErrSchemeMismatch):
		return "tls", "TLS was not agreed on"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout", "there was no answer in time"
	}
	return "connection", "the connection failed"
}
