package protocol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

var own = Hello{Protocol: Version, Program: "1.2.3"}

// raw is a banner as bytes, whatever is in it.
func raw(text string) string {
	return string(binary.BigEndian.AppendUint16(bytes.Clone(magic), uint16(len(text)))) + text
}

func TestHandshakeOverAPipe(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	for _, c := range []net.Conn{a, b} {
		if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(a, "Welcome to web1\r\nlast login: never\n\x00\xffhdep")
		sent <- errors.Join(err, SendHello(a, Hello{Protocol: 1, Program: "9", Extensions: []string{"x-grease"}}))
	}()
	peer, err := ReceiveHello(b, own)
	if err != nil || peer.Program != "9" || peer.Extensions[0] != "x-grease" {
		t.Errorf("got %+v, %v", peer, err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestReceiveHello(t *testing.T) {
	good := `{"protocol":1,"program":"9"}`
	for _, c := range []struct {
		name, in string
		agent    bool // a magic came
		bad      string
	}{
		{"plain", raw(good), true, ""},
		{"noise before it", "motd\n" + raw(good), true, ""},
		{"half a magic before it", string(magic[:5]) + raw(good), true, ""},
		{"a magic's beginning doubled", string(magic[:1]) + raw(good), true, ""},
		{"most noise", strings.Repeat("x", noiseLimit-len(magic)) + raw(good), true, ""},
		{"unknown fields and extensions", raw(`{"protocol":1,"program":"9","grease":{"a":[1]},"extensions":["x-grease-7"]}`), true, ""},
		{"nothing", "", false, "no agent answered"},
		{"text", "sh: hdeploy-agent: not found\n", false, "no agent answered"},
		{"too much noise", strings.Repeat("x", noiseLimit) + raw(good), false, "no agent answered"},
		{"half a magic", string(magic[:6]), false, "no agent answered"},
		{"no length", string(magic), true, "read banner"},
		{"half a length", string(magic) + "\x00", true, "read banner"},
		{"half a banner", raw(good)[:len(raw(good))-3], true, "read banner"},
		{"too long", raw(`{"protocol":1,"program":"` + strings.Repeat("x", bannerLimit) + `"}`), true, "more than 1024"},
		{"announced too long", string(magic) + "\xff\xff", true, "more than 1024"},
		{"garbage", raw("\x01\x02\x03"), true, "read banner"},
		{"no banner", raw(""), true, "read banner"},
		{"wrong type", raw(`{"protocol":"1"}`), true, "read banner"},
		{"another kind of JSON", raw(`[1]`), true, "read banner"},
	} {
		t.Run(c.name, func(t *testing.T) {
			peer, err := ReceiveHello(iotest.OneByteReader(strings.NewReader(c.in)), own)
			if c.bad == "" {
				if err != nil || peer.Protocol != 1 || peer.Program != "9" {
					t.Errorf("got %+v, %v", peer, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.bad) {
				t.Fatalf("got %+v, %v", peer, err)
			}
			if errors.Is(err, ErrNoAgent) == c.agent {
				t.Errorf("is no agent: %v", err)
			}
		})
	}
}

func TestReceiveHelloConsumesNothingBehindIt(t *testing.T) {
	in := strings.NewReader("noise" + raw(`{"protocol":1}`) + "rest")
	if _, err := ReceiveHello(in, own); err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(in); string(rest) != "rest" {
		t.Errorf("left %q", rest)
	}
}

// Both ends of a conversation come to the same verdict, whatever the two versions.
func TestProtocolTalksToTheOneBeforeAndTheNext(t *testing.T) {
	for _, c := range []struct {
		ours, theirs int
		talk         bool
	}{
		{1, 1, true}, {1, 2, true}, {2, 1, true}, {7, 7, true}, {7, 6, true}, {7, 8, true},
		{1, 3, false}, {3, 1, false}, {7, 5, false}, {7, 9, false}, {1, 0, false}, {1, -5, false}, {2, 0, false},
	} {
		var b bytes.Buffer
		if err := SendHello(&b, Hello{Protocol: c.theirs, Program: "7.0"}); err != nil {
			t.Fatal(err)
		}
		_, err := ReceiveHello(&b, Hello{Protocol: c.ours, Program: "1.2.3"})
		if talk := err == nil; talk != c.talk || c.theirs > 0 && talks(c.ours, c.theirs) != talks(c.theirs, c.ours) {
			t.Errorf("%d and %d: %v", c.ours, c.theirs, err)
		}
		var versions *VersionError
		if !c.talk && (!errors.As(err, &versions) || versions.Peer.Protocol != c.theirs || versions.Own.Program != "1.2.3") {
			t.Fatalf("%d and %d: got %v", c.ours, c.theirs, err)
		}
		if !c.talk {
			for _, part := range []string{"1.2.3", "7.0", fmt.Sprint("protocol ", c.ours), fmt.Sprint("protocol ", c.theirs)} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not name %q", err, part)
				}
			}
		}
	}
}

func TestSendHelloIsCapped(t *testing.T) {
	if err := SendHello(io.Discard, Hello{Program: strings.Repeat("x", bannerLimit)}); err == nil {
		t.Error("sent a banner that no peer reads")
	}
}

func FuzzReceiveHello(f *testing.F) {
	f.Add([]byte(raw(`{"protocol":1,"program":"9"}`)))
	f.Add([]byte("motd\n" + raw(`{"protocol":1}`)))
	f.Add([]byte(string(magic) + "\xff\xff{}"))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		peer, err := ReceiveHello(r, own)
		if err == nil && (!talks(Version, peer.Protocol)) {
			t.Errorf("accepted protocol %d", peer.Protocol)
		}
		if err == nil && !bytes.Contains(in, magic) {
			t.Error("accepted without the magic")
		}
	})
}
