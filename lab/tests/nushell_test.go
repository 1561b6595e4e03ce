//go:build lab

package tests

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// Debian has no package of nushell: it is taken from npm, at one version and hash.
const (
	nushellPackage = "@nushell/linux-x64@0.115.1"
	nushellSHA256  = "c343a927a2d4a45ebf9300d013b226bcdc2598ecb0178a8a79722ebffe71e56e"
)

// nushell returns the program, nil where this machine has no way to get it: then
// nothing is shown of that shell.
func nushell(t *testing.T) []byte {
	t.Helper()
	program, err := fetchNushell()
	if err != nil {
		t.Logf("nushell is not here, nothing is shown of it: %v", err)
	}
	return program
}

// fetchNushell keeps the program where the lab keeps its images.
var fetchNushell = sync.OnceValues(func() ([]byte, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	kept := filepath.Join(cache, "hdeploy", "nu-"+nushellSHA256[:16])
	if program, err := os.ReadFile(kept); err == nil && hasHash(program) {
		return program, nil
	}
	dir, err := os.MkdirTemp("", "nushell-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	script := `npm pack --silent "$1" && tar -xzf *.tgz package/bin/nu`
	command := exec.Command("sh", "-c", script, "fetch", nushellPackage)
	command.Dir = dir
	if out, err := command.CombinedOutput(); err != nil {
		return nil, &fetchError{string(out), err}
	}
	program, err := os.ReadFile(filepath.Join(dir, "package", "bin", "nu"))
	if err != nil {
		return nil, err
	}
	if !hasHash(program) {
		return nil, &fetchError{"npm gave another program", os.ErrInvalid}
	}
	return program, os.WriteFile(kept, program, 0o755)
})

type fetchError struct {
	said string
	err  error
}

func (e *fetchError) Error() string { return e.err.Error() + ": " + tail(e.said) }

func hasHash(program []byte) bool {
	sum := sha256.Sum256(program)
	return hex.EncodeToString(sum[:]) == nushellSHA256
}
