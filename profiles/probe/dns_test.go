package probe

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// Types and answers of DNS, from RFC 1035 and 3596.
const (
	typeA, typeNS, typeCNAME, typeMX, typeTXT, typeAAAA = 1, 2, 5, 15, 16, 28

	serverFailure, noSuchName, refused = 2, 3, 5
)

// record is an answer to a question for its type.
type record struct {
	kind uint16
	data []byte
}

// zone is what a server knows, by name; code is what it answers with, if not
// with what it knows.
type zone struct {
	records map[string][]record
	code    uint16
	mute    bool
}

func labels(name string) []byte {
	var text []byte
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		text = append(append(text, byte(len(label))), label...)
	}
	return append(text, 0)
}

// answer is the server's message to a query of one question.
func (z zone) answer(query []byte) []byte {
	end, name := 12, ""
	for query[end] != 0 {
		next := end + 1 + int(query[end])
		name += strings.ToLower(string(query[end+1:next])) + "."
		end = next
	}
	wanted := binary.BigEndian.Uint16(query[end+1:])
	known, ok := z.records[name]
	code := z.code
	if !ok && code == 0 {
		code = noSuchName
	}
	var answers []byte
	n := uint16(0)
	for _, r := range known {
		if code == 0 && (r.kind == wanted || r.kind == typeCNAME) {
			answers = append(answers, 0xc0, 12) // the name of the question
			answers = binary.BigEndian.AppendUint16(answers, r.kind)
			answers = append(answers, 0, 1, 0, 0, 0, 60)
			answers = binary.BigEndian.AppendUint16(answers, uint16(len(r.data)))
			answers = append(answers, r.data...)
			n++
		}
	}
	reply := append([]byte(nil), query[:2]...)
	for _, field := range []uint16{0x8180 | code, 1, n, 0, 0} {
		reply = binary.BigEndian.AppendUint16(reply, field)
	}
	return append(append(reply, query[12:end+5]...), answers...)
}

// serve answers over UDP until the test ends, and returns the address.
func (z zone) serve(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for query := make([]byte, 512); ; {
			n, from, err := conn.ReadFrom(query)
			if err != nil {
				return
			}
			if !z.mute && n > 12 {
				_, _ = conn.WriteTo(z.answer(query[:n]), from)
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return conn.LocalAddr().String()
}

func addressOf(text string) []byte { return netip.MustParseAddr(text).AsSlice() }

func TestDNS(t *testing.T) {
	known := zone{records: map[string][]record{
		"www.example.":  {{typeA, addressOf("192.0.2.1")}, {typeA, addressOf("192.0.2.2")}, {typeAAAA, addressOf("2001:db8::1")}},
		"four.example.": {{typeA, addressOf("192.0.2.4")}},
		"example.":      {{typeMX, append([]byte{0, 10}, labels("mail.example")...)}, {typeNS, labels("ns.example")}, {typeTXT, append([]byte{6}, "v=spf1"...)}},
	}}.serve(t)
	broken := zone{code: serverFailure}.serve(t)
	unwilling := zone{code: refused}.serve(t)
	mute := zone{mute: true}.serve(t)
	closed := refusing(t)
	for _, c := range []struct {
		name, server, from string
		spec               DNSSpec
		verdict, class     string
		contains           string
	}{
		{"any address", known, FromHost, DNSSpec{Query: "www.example."}, Pass, "", "192.0.2.1"},
		{"both kinds", known, FromHost, DNSSpec{Query: "www.example.", Answers: []string{"192.0.2.2", "2001:DB8:0::1"}}, Pass, "", ""},
		{"from the deployer", known, FromDeployer, DNSSpec{Query: "www.example."}, Pass, "", ""},
		{"A", known, FromHost, DNSSpec{Query: "www.example.", Type: "A", Answers: []string{"192.0.2.1"}}, Pass, "", ""},
		{"AAAA", known, FromHost, DNSSpec{Query: "www.example.", Type: "AAAA", Answers: []string{"2001:db8::1"}}, Pass, "", ""},
		{"other address", known, FromHost, DNSSpec{Query: "www.example.", Answers: []string{"192.0.2.9"}}, Fail, "answers", "192.0.2.1"},
		{"other address seen by the deployer", known, FromDeployer, DNSSpec{Query: "www.example.", Answers: []string{"192.0.2.9"}}, Fail, "answers", ""},
		{"no address of that kind", known, FromHost, DNSSpec{Query: "four.example.", Type: "AAAA"}, Fail, "no-such-record", ""},
		{"MX", known, FromHost, DNSSpec{Query: "example.", Type: "MX", Answers: []string{"Mail.Example."}}, Pass, "", "mail.example"},
		{"NS", known, FromHost, DNSSpec{Query: "example.", Type: "NS", Answers: []string{"ns.example"}}, Pass, "", ""},
		{"TXT", known, FromHost, DNSSpec{Query: "example.", Type: "TXT", Answers: []string{"v=spf1"}}, Pass, "", ""},
		{"CNAME of a name that has none", known, FromHost, DNSSpec{Query: "www.example.", Type: "CNAME", Answers: []string{"www.example"}}, Pass, "", ""},
		{"no such name", known, FromHost, DNSSpec{Query: "no.example."}, Fail, "no-such-record", "no such host"},
		{"no such name for the deployer", known, FromDeployer, DNSSpec{Query: "no.example."}, Fail, "no-such-record", ""},
		{"the server fails", broken, FromHost, DNSSpec{Query: "www.example."}, Unknown, "no-answer", "misbehaving"},
		{"the server refuses", unwilling, FromHost, DNSSpec{Query: "www.example."}, Unknown, "no-answer", ""},
		{"the server is mute", mute, FromHost, DNSSpec{Query: "www.example."}, Unknown, "no-answer", mute},
		{"nothing listens on the host", closed, FromHost, DNSSpec{Query: "www.example."}, Fail, "no-server", closed},
		{"nothing listens on the deployer", closed, FromDeployer, DNSSpec{Query: "www.example."}, Unknown, "no-answer", closed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := quick(KindDNS)
			if c.spec.Server = c.server; c.spec.Type == "" {
				c.spec.Type = anyAddress
			}
			s.From, s.Ask, s.Timeout, s.Deadline = c.from, &c.spec, 3*time.Second, 3*time.Second
			host := newStandIn(t).host(nil)
			if c.from == FromDeployer {
				host = nil
			}
			runOne(t, s, host).want(t, c.verdict, c.class, c.contains)
		})
	}
}

// The machine's own /etc/hosts answers, too, as it does for all its programs.
func TestDNSOfThisMachine(t *testing.T) {
	s := quick(KindDNS)
	s.Ask = &DNSSpec{Query: "localhost", Type: anyAddress, Answers: []string{"127.0.0.1"}}
	runOne(t, s, newStandIn(t).host(nil)).want(t, Pass, "", "127.0.0.1")
}

// A server that is named is really asked: this machine's own names say nothing of it.
func TestDNSNamedServerAloneIsAsked(t *testing.T) {
	knows := zone{records: map[string][]record{"localhost.": {{typeA, addressOf("192.0.2.7")}}}}.serve(t)
	ignorant := zone{}.serve(t)
	for _, c := range []struct {
		server, kind, verdict, class, contains string
	}{
		{knows, anyAddress, Pass, "", "192.0.2.7"},
		{knows, "A", Pass, "", "192.0.2.7"},
		{knows, "CNAME", Pass, "", "localhost"},
		{knows, "AAAA", Fail, "no-such-record", ""},
		{ignorant, anyAddress, Fail, "no-such-record", "no such host"},
		{ignorant, "CNAME", Fail, "no-such-record", ""},
	} {
		s := quick(KindDNS)
		s.Ask = &DNSSpec{Query: "localhost", Type: c.kind, Server: c.server}
		r := runOne(t, s, newStandIn(t).host(nil))
		r.want(t, c.verdict, c.class, c.contains)
		if strings.Contains(r.Seen, "127.0.0.1") {
			t.Errorf("%s: /etc/hosts answered: %+v", c.kind, r)
		}
	}
}

// forger answers with what is none, and then as cut off: the rest comes by TCP.
func forger(t *testing.T, byTCP zone) string {
	t.Helper()
	stream, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	conn, err := net.ListenPacket("udp", stream.Addr().String())
	must(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		for query := make([]byte, 512); ; {
			n, from, err := conn.ReadFrom(query)
			if err != nil {
				return
			}
			elsewhere := zone{records: map[string][]record{"www.example.": {{typeA, addressOf("192.0.2.66")}}}}.answer(query[:n])
			elsewhere[0] ^= 0xff // the id of another question
			cut := zone{records: byTCP.records}.answer(query[:n])[:n]
			binary.BigEndian.PutUint16(cut[2:], 0x8380) // TC
			binary.BigEndian.PutUint16(cut[6:], 0)
			for _, reply := range [][]byte{{1, 2, 3}, elsewhere, query[:n], cut} {
				_, _ = conn.WriteTo(reply, from)
			}
		}
	})
	serving.Go(func() {
		for {
			client, err := stream.Accept()
			if err != nil {
				return
			}
			query := make([]byte, 512)
			if n, err := client.Read(query); err == nil && n > 14 {
				reply := byTCP.answer(query[2:n])
				_, _ = client.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
			}
			client.Close()
		}
	})
	t.Cleanup(func() { conn.Close(); stream.Close(); serving.Wait() })
	return stream.Addr().String()
}

func TestDNSTakesNoForgedAndNoCutAnswer(t *testing.T) {
	s := quick(KindDNS)
	s.Ask = &DNSSpec{Query: "www.example", Type: "A", Server: forger(t, zone{records: map[string][]record{"www.example.": {{typeA, addressOf("192.0.2.1")}}}})}
	r := runOne(t, s, newStandIn(t).host(nil))
	r.want(t, Pass, "", "192.0.2.1")
	if strings.Contains(r.Seen, "192.0.2.66") {
		t.Errorf("got %+v", r)
	}
}

func TestServerAddress(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.1:53", "192.0.2.1:5353": "192.0.2.1:5353", "2001:db8::1": "[2001:db8::1]:53", "[2001:db8::1]:5353": "[2001:db8::1]:5353", "[::1]": "[::1]:53",
		"ns.example": "", "ns.example:53": "", "192.0.2.1:x": "", "192.0.2.1:65536": "", "": "",
	} {
		if got, err := serverAddress(text); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q, %v", text, got, err)
		}
	}
}
