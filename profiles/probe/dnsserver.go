package probe

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// askServer asks one server, and nobody else, for the addresses of a name or for the
// name that a chain of CNAMEs ends at. Go's resolver would look into /etc/hosts as well,
// in the order of /etc/nsswitch.conf, whatever server it is given. The name is asked for
// as it stands, in no search domain. The error is a *[net.DNSError].
func (d *DNSSpec) askServer(ctx context.Context) ([]string, error) {
	address, err := serverAddress(d.Server)
	if err != nil {
		return nil, err
	}
	name, err := dnsmessage.NewName(strings.TrimSuffix(d.Query, ".") + ".")
	if err != nil {
		return nil, err
	}
	types := []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA}
	switch d.Type {
	case "A":
		types = types[:1]
	case "AAAA":
		types = types[1:]
	}
	var answers []string
	var failed error
	for _, t := range types {
		found, err := exchange(ctx, address, dnsmessage.Question{Name: name, Type: t, Class: dnsmessage.ClassINET})
		for _, r := range found {
			if d.Type == "CNAME" {
				r.address = r.name
			}
			answers = append(answers, r.address)
		}
		var told *net.DNSError
		if err != nil && (failed == nil || errors.As(failed, &told) && told.IsNotFound) {
			failed = err // that there is none of one kind is told only if the other is not there either
		}
	}
	if len(answers) > 0 {
		return answers, nil
	}
	return nil, failed
}

// answered is an address, and whose it is.
type answered struct{ name, address string }

const (
	// serverTries are as many as Go's resolver makes, each of serverPatience.
	serverTries    = 2
	serverPatience = 5 * time.Second
	// longestUDP is more than a server sends by UDP to who does not ask for more.
	longestUDP = 4096
)

// exchange asks once more where no answer comes, and by TCP where one does not fit.
func exchange(ctx context.Context, server string, q dnsmessage.Question) ([]answered, error) {
	network := "udp"
	var failed error
	for range serverTries {
		reply, err := exchangeOver(ctx, network, server, q)
		if err == nil && reply.Truncated && network == "udp" {
			network = "tcp"
			reply, err = exchangeOver(ctx, network, server, q)
		}
		if err == nil {
			return reply.read(server, q)
		}
		failed = &net.DNSError{UnwrapErr: err, Err: err.Error(), Name: q.Name.String(), Server: server, IsTimeout: isTimeout(err)}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, failed
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

func exchangeOver(ctx context.Context, network, server string, q dnsmessage.Question) (reply, error) {
	var id [2]byte
	if _, err := rand.Read(id[:]); err != nil {
		return reply{}, err
	}
	query := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: binary.BigEndian.Uint16(id[:]), RecursionDesired: true},
		Questions: []dnsmessage.Question{q},
	}
	packed, err := query.Pack()
	if err != nil {
		return reply{}, err
	}
	ctx, done := context.WithTimeout(ctx, serverPatience)
	defer done()
	conn, err := new(net.Dialer).DialContext(ctx, network, server)
	if err != nil {
		return reply{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return reply{}, err
		}
	}
	if network == "tcp" {
		return overStream(conn, packed, query.ID, q)
	}
	return overPackets(conn, packed, query.ID, q)
}

// overPackets passes over what does not answer the question: anybody can send that.
func overPackets(conn net.Conn, query []byte, id uint16, q dnsmessage.Question) (reply, error) {
	if _, err := conn.Write(query); err != nil {
		return reply{}, err
	}
	for packet := make([]byte, longestUDP); ; {
		n, err := conn.Read(packet)
		if err != nil {
			return reply{}, err
		}
		if r, ok := parseReply(packet[:n], id, q); ok {
			return r, nil
		}
	}
}

func overStream(conn net.Conn, query []byte, id uint16, q dnsmessage.Question) (reply, error) {
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)); err != nil {
		return reply{}, err
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return reply{}, err
	}
	message := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, message); err != nil {
		return reply{}, err
	}
	r, ok := parseReply(message, id, q)
	if !ok {
		return reply{}, errors.New("the server answered another question")
	}
	return r, nil
}

// reply is a message of which head and question were read.
type reply struct {
	dnsmessage.Header
	rest dnsmessage.Parser
}

func parseReply(message []byte, id uint16, q dnsmessage.Question) (reply, bool) {
	var r reply
	var err error
	if r.Header, err = r.rest.Start(message); err != nil || !r.Response || r.ID != id {
		return reply{}, false
	}
	asked, err := r.rest.Question()
	same := err == nil && asked.Type == q.Type && asked.Class == q.Class && strings.EqualFold(asked.Name.String(), q.Name.String())
	return r, same && r.rest.SkipAllQuestions() == nil
}

// read returns the addresses of an answer. That there are none is an error like that
// of a name that is not there.
func (r reply) read(server string, q dnsmessage.Question) ([]answered, error) {
	failure := &net.DNSError{Name: q.Name.String(), Server: server}
	switch r.RCode {
	case dnsmessage.RCodeSuccess:
	case dnsmessage.RCodeNameError:
		failure.Err, failure.IsNotFound = "no such host", true
		return nil, failure
	default:
		failure.Err = "server misbehaving: " + strings.TrimPrefix(r.RCode.String(), "RCode")
		return nil, failure
	}
	var found []answered
	for len(found) < mostAnswers {
		h, err := r.rest.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		}
		ip, ok := netip.Addr{}, false
		switch {
		case err != nil:
		case h.Type == dnsmessage.TypeA && q.Type == h.Type:
			var a dnsmessage.AResource
			a, err = r.rest.AResource()
			ip, ok = netip.AddrFrom4(a.A), err == nil
		case h.Type == dnsmessage.TypeAAAA && q.Type == h.Type:
			var a dnsmessage.AAAAResource
			a, err = r.rest.AAAAResource()
			ip, ok = netip.AddrFrom16(a.AAAA), err == nil
		default:
			err = r.rest.SkipAnswer()
		}
		if err != nil {
			failure.Err = "the answer cannot be read: " + err.Error()
			return found, failure
		}
		if ok {
			found = append(found, answered{name: h.Name.String(), address: ip.Unmap().String()})
		}
	}
	if len(found) == 0 {
		failure.Err, failure.IsNotFound = "no such host", true
		return nil, failure
	}
	return found, nil
}
