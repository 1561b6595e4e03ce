package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// DNSSpec asks for the records of a name, the way programs on the machine that
// asks do: /etc/hosts and the search domains of /etc/resolv.conf count, and a
// name with a stop at its end is searched nowhere. With a Server, that alone is
// asked, whatever /etc/hosts and /etc/nsswitch.conf say.
//
// A name that does not exist, or has other answers, fails. A server that gives
// no answer, or says that it could not find one, is somebody else's fault, and
// unknown. Only where nothing listens at a server on the host's own loopback
// has the host failed.
type DNSSpec struct {
	Query string `json:"name"`
	// Type is one of A, AAAA, CNAME, MX, NS, TXT, and any for both kinds of
	// addresses. CNAME is the last name of a chain, and of none the name itself.
	Type string `json:"type"`
	// Answers must all be among those that come; none for any at all. Names may
	// leave out the stop at their end, and of MX only the name is compared.
	Answers []string `json:"answers,omitempty"`
	// Server is asked instead of those in /etc/resolv.conf: an IP address, with or
	// without a port.
	Server string `json:"server,omitempty"`
}

const (
	anyAddress  = "any"
	mostAnswers = 64
)

func dnsTypes() []string { return []string{anyAddress, "A", "AAAA", "CNAME", "MX", "NS", "TXT"} }

// dnsName is what a resolver may be asked; services have underscores.
var dnsName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$`)

func dnsKind() kind {
	return kind{
		About: About{
			Kind: KindDNS, Vantages: []string{FromHost, FromDeployer}, Text: "a name has the records that it should have",
			Params: []Param{
				{Name: "name", Type: Text, Required: true, Text: "the name; with a stop at its end it is searched in no other domain"},
				{Name: "type", Type: Text, Default: `"any"`, Words: dnsTypes(), Text: "the type of the records, any for addresses of both kinds"},
				{Name: "answers", Type: Texts, Text: "these must be among the answers: addresses, names or texts"},
				{Name: "server", Type: Text, Default: "those of /etc/resolv.conf", Text: "the server to ask, an address with or without a port; then neither /etc/hosts nor search domains count"},
			},
		},
		question: func() Question { return &DNSSpec{Type: anyAddress} },
		// The resolver's own patience with a server is 5 s, twice.
		defaults: func(s *Spec) { s.Timeout = 12 * time.Second },
	}
}

func (d *DNSSpec) validate() error {
	var errs []error
	if len(d.Query) > 254 || !dnsName.MatchString(d.Query) {
		errs = append(errs, fmt.Errorf("name must be the name of a host or domain, not %q", clean(d.Query)))
	}
	if !slices.Contains(dnsTypes(), d.Type) {
		errs = append(errs, fmt.Errorf("type must be one of %s, not %q", strings.Join(dnsTypes(), ", "), clean(d.Type)))
	}
	if len(d.Answers) > mostAnswers {
		errs = append(errs, fmt.Errorf("answers must be at most %d", mostAnswers))
	}
	for _, answer := range d.Answers {
		errs = append(errs, d.validAnswer(answer))
	}
	if d.Server != "" {
		if _, err := serverAddress(d.Server); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (d *DNSSpec) validAnswer(answer string) error {
	switch d.Type {
	case anyAddress, "A", "AAAA":
		ip, err := netip.ParseAddr(answer)
		if err != nil || d.Type == "A" && !ip.Is4() || d.Type == "AAAA" && !ip.Is6() {
			return fmt.Errorf("answers of type %s must be IP addresses of that kind, not %q", d.Type, clean(answer))
		}
	default:
		if answer == "" || len(answer) > longestArgument {
			return fmt.Errorf("an answer must be from 1 to %d bytes", longestArgument)
		}
	}
	return nil
}

// serverAddress is host:port of a server; its port is 53 if none is given.
func serverAddress(server string) (string, error) {
	if ip, err := netip.ParseAddr(strings.Trim(server, "[]")); err == nil {
		return net.JoinHostPort(ip.String(), "53"), nil
	}
	host, port, err := net.SplitHostPort(server)
	if err == nil {
		_, err = netip.ParseAddr(host)
	}
	if n, no := strconv.Atoi(port); err != nil || no != nil || n < 1 || n > 65535 {
		return "", fmt.Errorf("server must be an IP address, with or without a port, not %q", clean(server))
	}
	return server, nil
}

func (*DNSSpec) units() []string { return nil }

func (d *DNSSpec) try(ctx context.Context, a attempt) finding {
	expected := d.expected()
	began := time.Now()
	answers, err := d.ask(ctx)
	if err != nil {
		return d.noAnswer(ctx, a, expected, err)
	}
	for _, wanted := range d.Answers {
		if !slices.Contains(answers, d.canonical(wanted)) {
			return fail("answers", expected, "it has "+strings.Join(answers, ", "))
		}
	}
	return pass(expected, fmt.Sprintf("it has %s, asked in %s", strings.Join(answers, ", "), since(began)))
}

func (d *DNSSpec) expected() string {
	what := d.Type
	if d.Type == anyAddress {
		what = "an address"
	}
	if len(d.Answers) > 0 {
		what += " " + strings.Join(d.Answers, ", ")
	}
	text := d.Query + " has " + what
	if d.Server != "" {
		text += " at " + d.Server
	}
	return text
}

// resolver is Go's own, which says of a failure what it was.
func (d *DNSSpec) resolver() *net.Resolver {
	r := &net.Resolver{PreferGo: true}
	if address, err := serverAddress(d.Server); d.Server != "" && err == nil {
		r.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		}
	}
	return r
}

func (d *DNSSpec) ask(ctx context.Context) (answers []string, err error) {
	if byAddress := slices.Contains([]string{anyAddress, "A", "AAAA", "CNAME"}, d.Type); d.Server != "" && byAddress {
		answers, err = d.askServer(ctx)
	} else {
		answers, err = d.askResolver(ctx)
	}
	for i, answer := range answers {
		answers[i] = d.canonical(answer)
	}
	// What could be read of an answer counts, whatever else was in it.
	if len(answers) > 0 && answers[0] != "" {
		return answers, nil
	}
	return nil, err
}

func (d *DNSSpec) askResolver(ctx context.Context) (answers []string, err error) {
	r := d.resolver()
	switch d.Type {
	case "A":
		answers, err = addresses(ctx, r, "ip4", d.Query)
	case "AAAA":
		answers, err = addresses(ctx, r, "ip6", d.Query)
	case "CNAME":
		var name string
		name, err = r.LookupCNAME(ctx, d.Query)
		answers = []string{name}
	case "MX":
		var records []*net.MX
		records, err = r.LookupMX(ctx, d.Query)
		for _, record := range records {
			answers = append(answers, record.Host)
		}
	case "NS":
		var records []*net.NS
		records, err = r.LookupNS(ctx, d.Query)
		for _, record := range records {
			answers = append(answers, record.Host)
		}
	case "TXT":
		answers, err = r.LookupTXT(ctx, d.Query)
	default:
		answers, err = addresses(ctx, r, "ip", d.Query)
	}
	return answers, err
}

func addresses(ctx context.Context, r *net.Resolver, network, name string) ([]string, error) {
	found, err := r.LookupNetIP(ctx, network, name)
	var texts []string
	for _, ip := range found {
		texts = append(texts, ip.Unmap().String())
	}
	return texts, err
}

// canonical makes two ways to write the same answer the same.
func (d *DNSSpec) canonical(answer string) string {
	switch d.Type {
	case "TXT":
		return answer
	case "CNAME", "MX", "NS":
		return strings.ToLower(strings.TrimSuffix(answer, "."))
	}
	if ip, err := netip.ParseAddr(answer); err == nil {
		return ip.Unmap().String()
	}
	return answer
}

func (d *DNSSpec) noAnswer(ctx context.Context, a attempt, expected string, err error) finding {
	var failed *net.DNSError
	if !errors.As(err, &failed) {
		return unknown("no-answer", expected, "the name could not be asked for").because(err.Error())
	}
	if failed.IsNotFound {
		return fail("no-such-record", expected, "there is no such record").because(err.Error())
	}
	server := failed.Server
	if d.Server != "" {
		server, _ = serverAddress(d.Server) // the error names the one of resolv.conf
	}
	if a.From == FromHost && isLoopback(server) && nobodyListens(ctx, server) {
		return fail("no-server", expected, "nothing listens at the host's own server "+server).because(err.Error())
	}
	return unknown("no-answer", expected, "the server "+server+" gave no answer").because(err.Error())
}

func isLoopback(server string) bool {
	address, err := netip.ParseAddrPort(server)
	return err == nil && address.Addr().IsLoopback()
}

// nobodyListens asks once more, since the error of the resolver's says only in
// words that the kernel refused its question.
func nobodyListens(ctx context.Context, server string) bool {
	conn, err := new(net.Dialer).DialContext(ctx, "udp", server)
	if err != nil {
		return false
	}
	defer conn.Close()
	if conn.SetDeadline(time.Now().Add(100*time.Millisecond)) != nil {
		return false
	}
	if _, err := conn.Write(make([]byte, 12)); err != nil { // a header that asks nothing
		return errors.Is(err, syscall.ECONNREFUSED)
	}
	_, err = conn.Read(make([]byte, 1))
	return errors.Is(err, syscall.ECONNREFUSED)
}
