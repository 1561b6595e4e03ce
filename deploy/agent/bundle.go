// Package agent brings the agent onto a host, starts it there as root, and talks
// to it.
//
// It keeps one promise: nothing runs as root on a host that was not checked by
// its hash. The agent lies in a directory only root can enter, under a name that
// contains its SHA-256; root hashes it there before each start, and what was
// uploaded by somebody else is first copied into that directory and hashed as
// the copy that will run.
package agent

import (
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
)

// dist holds, for each platform, agent-linux-ARCH.gz and the SHA-256 of what is
// in it as agent-linux-ARCH.sha256. scripts/build puts them there.
//
//go:embed all:dist
var dist embed.FS

// platforms maps what `uname -m` says to Go's name of the architecture.
var platforms = map[string]string{"x86_64": "amd64", "aarch64": "arm64"}

// ErrNotBundled says that this hdeploy was built without agents.
var ErrNotBundled = errors.New("this hdeploy was built without its agents; build it with scripts/build")

// agentLimit caps an unpacked agent.
const agentLimit = 8 << 20

// hashOf returns the SHA-256 of the agent for an architecture, in hexadecimal.
func hashOf(arch string) (string, error) {
	text, err := dist.ReadFile("dist/agent-linux-" + arch + ".sha256")
	if err != nil {
		return "", ErrNotBundled
	}
	hash := strings.TrimSpace(string(text))
	if raw, err := hex.DecodeString(hash); err != nil || len(raw) != sha256.Size {
		return "", fmt.Errorf("%w: its checksum for %s is damaged", ErrNotBundled, arch)
	}
	return hash, nil
}

// unpack returns the agent for an architecture, checked against its hash.
func unpack(arch string) ([]byte, error) {
	f, err := dist.Open("dist/agent-linux-" + arch + ".gz")
	if err != nil {
		return nil, ErrNotBundled
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("unpack agent for %s: %v", arch, err)
	}
	program, err := io.ReadAll(io.LimitReader(z, agentLimit+1))
	if err != nil {
		return nil, fmt.Errorf("unpack agent for %s: %v", arch, err)
	}
	want, err := hashOf(arch)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(program); hex.EncodeToString(sum[:]) != want {
		return nil, fmt.Errorf("unpack agent for %s: its hash is not the one recorded", arch)
	}
	return program, nil
}
