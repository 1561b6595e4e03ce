// Package protocol is what hdeploy and its agent say to each other, over the
// standard streams of the agent.
//
// It keeps both sides safe from each other: every length is capped before
// anything is allocated, nothing is executed because of what a peer says before
// the handshake, and a peer of another protocol is refused with both versions
// named. The form is hdeploy's own: a magic that no text contains, a banner of
// JSON behind a 16-bit length, then frames of JSON behind a 32-bit length, all
// numbers big-endian.
package protocol

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Version is the protocol that this program speaks. Protocol N talks to N-1, and so
// both to N+1, which does the same: what is said between the two is what N-1 knows.
const Version = 1

// talks reports whether the protocols understand each other. A banner without a number
// has zero.
func talks(own, peer int) bool { return peer > 0 && peer >= own-1 && peer <= own+1 }

// Ready is the line that an agent prints on its standard error as soon as it runs, so
// that a password which is typed before is never followed by what is meant for it.
const Ready = "hdeploy-agent: ready"

// magic begins what either side sends. A login banner or a shell's message on
// standard output cannot contain it.
var magic = []byte("\x00\xffhdeploy\xff\x00")

const (
	// noiseLimit is how much a login shell may print before the agent's magic.
	noiseLimit  = 64 << 10
	bannerLimit = 1024
)

// Hello is a banner.
type Hello struct {
	Protocol int `json:"protocol"`
	// Program is the version of the program, for messages only.
	Program string `json:"program"`
	// Extensions are abilities that came after the first release of the protocol;
	// unknown ones are ignored. A request that needs one
	// which the agent lacks is not sent: [CodeUnable].
	Extensions []string `json:"extensions,omitempty"`
}

// VersionError says that the peer speaks a protocol that this program does not.
type VersionError struct{ Own, Peer Hello }

func (e *VersionError) Error() string {
	return fmt.Sprintf("protocol %d (hdeploy %s) here, protocol %d (hdeploy %s) there", e.Own.Protocol, e.Own.Program, e.Peer.Protocol, e.Peer.Program)
}

// ErrNoAgent says that the far side sent no magic: it is not an agent, or never
// started one.
var ErrNoAgent = errors.New("no agent answered")

// SendHello writes the magic and the banner.
func SendHello(w io.Writer, own Hello) error {
	banner, err := json.Marshal(own)
	if err != nil {
		return err
	}
	if len(banner) > bannerLimit {
		return fmt.Errorf("send banner: %d bytes, more than %d", len(banner), bannerLimit)
	}
	out := binary.BigEndian.AppendUint16(bytes.Clone(magic), uint16(len(banner)))
	_, err = w.Write(append(out, banner...))
	return err
}

// ReceiveHello skips what a shell printed, then reads the magic and the banner.
// The error wraps [ErrNoAgent] where no magic came, and is a [VersionError]
// where the peer cannot be talked to.
func ReceiveHello(r io.Reader, own Hello) (Hello, error) {
	if err := skipToMagic(r); err != nil {
		return Hello{}, err
	}
	var length uint16
	if err := binary.Read(r, binary.BigEndian, &length); err != nil {
		return Hello{}, fmt.Errorf("read banner: %v", err)
	}
	if length > bannerLimit {
		return Hello{}, fmt.Errorf("read banner: %d bytes, more than %d", length, bannerLimit)
	}
	text := make([]byte, length)
	if _, err := io.ReadFull(r, text); err != nil {
		return Hello{}, fmt.Errorf("read banner: %v", err)
	}
	var peer Hello
	if err := json.Unmarshal(text, &peer); err != nil {
		return Hello{}, fmt.Errorf("read banner: %v", err)
	}
	if !talks(own.Protocol, peer.Protocol) {
		return peer, &VersionError{Own: own, Peer: peer}
	}
	return peer, nil
}

// skipToMagic reads byte by byte, so that nothing behind the magic is consumed.
func skipToMagic(r io.Reader) error {
	var window []byte
	one := make([]byte, 1)
	for range noiseLimit {
		if _, err := io.ReadFull(r, one); err != nil {
			return fmt.Errorf("%w: %v", ErrNoAgent, err)
		}
		window = append(window, one[0])
		if len(window) > len(magic) {
			window = window[1:]
		}
		if bytes.Equal(window, magic) {
			return nil
		}
	}
	return fmt.Errorf("%w within the first %d bytes of its output", ErrNoAgent, noiseLimit)
}
