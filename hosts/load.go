package hosts

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// FileName is the name that [Find] looks for.
const FileName = "deploy.toml"

// mostBytes caps the file: a hundred hosts with all settings fit into a tenth.
const mostBytes = 1 << 20

// Find returns the path of the deploy.toml in dir or in the nearest folder
// above it that has one. Its error satisfies errors.Is(err, fs.ErrNotExist)
// and shows how to write one.
func Find(dir string) (string, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find %s: %v", FileName, err)
	}
	for folder := absolute; ; folder = filepath.Dir(folder) {
		path := filepath.Join(folder, FileName)
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			return path, nil
		}
		if folder == filepath.Dir(folder) {
			return "", &notFoundError{folder: absolute}
		}
	}
}

type notFoundError struct{ folder string }

func (e *notFoundError) Error() string {
	return fmt.Sprintf(`find %s: there is none in %s or above it; write one beside flake.nix, for instance:

    [hosts.web1]
    address   = "web1.example.org"
    host_keys = ["ssh-ed25519 AAAA..."]`, FileName, e.folder)
}

func (e *notFoundError) Is(target error) bool { return target == os.ErrNotExist }

// Load reads and validates a deploy.toml. What is wrong inside it is reported
// as [ConfigErrors], all of it at once. kinds are those that probes can have.
func Load(path string, kinds Kinds) (*Inventory, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %v", path, err)
	}
	document, err := readCapped(absolute)
	if err != nil {
		return nil, ConfigErrors{{File: path, Message: "read it: " + err.Error()}}
	}
	return decode(path, absolute, document, kinds)
}

// Check is Load for the content of a file that stands, or will stand, at path.
func Check(path string, document []byte, kinds Kinds) error {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("check %s: %v", path, err)
	}
	_, err = decode(path, absolute, document, kinds)
	return err
}

func readCapped(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	document, err := io.ReadAll(io.LimitReader(file, mostBytes+1))
	if err != nil {
		return nil, err
	}
	if len(document) > mostBytes {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, mostBytes)
	}
	return document, nil
}

// decode turns a document into an inventory; file is its name in messages.
func decode(file, absolute string, document []byte, kinds Kinds) (*Inventory, error) {
	root, fault := parse(file, document)
	if fault != nil {
		return nil, ConfigErrors{fault}
	}
	d := &decoder{file: file, folder: filepath.Dir(absolute), kinds: kinds}
	inv := d.inventory(root)
	if f := root.field("hosts"); f != nil {
		d.settle(inv, f.value)
	}
	if len(d.faults) > 0 {
		return nil, d.faults.sorted()
	}
	inv.Path = absolute
	return inv, nil
}

// absoluteFlake anchors a relative path at the folder of the file, so that it
// means the same wherever hdeploy is started.
func (d *decoder) absoluteFlake(flake string) string {
	scheme, rest := "", flake
	for _, prefix := range []string{"path:", "git+file:"} {
		if after, ok := strings.CutPrefix(flake, prefix); ok {
			scheme, rest = prefix, after
		}
	}
	path, query, _ := strings.Cut(rest, "?")
	if path != "." && path != ".." && !strings.HasPrefix(path, "./") && !strings.HasPrefix(path, "../") {
		return flake
	}
	path = scheme + filepath.Join(d.folder, path)
	if query != "" {
		path += "?" + query
	}
	return path
}

// absolutePath expands ~/ and anchors a relative path at the folder of the file.
func (d *decoder) absolutePath(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			path = filepath.Join(home, rest)
		}
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(d.folder, path)
	}
	return path
}
