package nix

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Sizes are the store paths of a closure with the size of their NARs in bytes.
type Sizes map[string]int64

// Total is the size of the whole closure, which is what a complete copy sends.
func (s Sizes) Total() int64 {
	var total int64
	for _, size := range s {
		total += size
	}
	return total
}

// Closure measures the closure of a path of the local store. It takes about
// 30 ms.
func (n *Nix) Closure(ctx context.Context, path string) (Sizes, error) {
	return n.measure(ctx, path)
}

// ClosureIn measures the closure of a path of another store. It takes a round trip
// for each path.
func (n *Nix) ClosureIn(ctx context.Context, store Store, path string) (Sizes, error) {
	if _, err := store.options(); err != nil {
		return nil, fmt.Errorf("measure: %v", err)
	}
	return n.measure(ctx, path, "--store", store.URI)
}

func (n *Nix) measure(ctx context.Context, path string, where ...string) (Sizes, error) {
	if !isStorePath(path) {
		return nil, fmt.Errorf("measure: %q is not a store path", path)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	// Not --json, which has had three forms so far, and not --closure-size,
	// which walks the closure of every member of the closure.
	args := arguments("path-info", append(where, "--recursive", "--size", path)...)
	output, err := n.run(ctx, "measure", args, newTracker(quiet, nil))
	if err != nil {
		return nil, err
	}
	return parseSizes(output)
}

// parseSizes reads lines of a store path and a number of bytes.
func parseSizes(output []byte) (Sizes, error) {
	const mostBytes = 1 << 50 // so that no sum overflows
	sizes := Sizes{}
	lines := bufio.NewScanner(bytes.NewReader(output))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 {
			continue
		}
		size, err := strconv.ParseInt(fields[len(fields)-1], 10, 64)
		if err != nil || len(fields) != 2 || !isStorePath(fields[0]) || size < 0 || size > mostBytes {
			return nil, fmt.Errorf("measure: nix printed %q", oneLine(lines.Text(), 200))
		}
		sizes[fields[0]] = size
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("measure: %v", err)
	}
	return sizes, nil
}

// Transfer is what to copy from where to where.
type Transfer struct {
	// From is the URI of the store that has the paths, of this machine's if empty; To
	// is the one that is to have their closures.
	From  string
	To    Store
	Paths []string
	// Sizes are those of the closure. With them, they may be nil, the progress also
	// counts bytes, path by path.
	Sizes Sizes
	// Substitute lets the receiving store fetch first what its own caches have.
	Substitute bool
	// CheckSignatures makes the receiving store demand a signature by a key that it
	// trusts. Without, it takes what has none, if it trusts this user.
	CheckSignatures bool
}

// fetchPatience is for a cache that does not answer, in seconds. Nix lets everybody
// set it who uses a daemon; by itself it may wait for minutes.
const fetchPatience = "10"

func (c Transfer) arguments() ([]string, error) {
	options, err := c.To.options()
	if err != nil {
		return nil, err
	}
	// Not the JSON log: in a copy Nix writes a line of it for each piece of
	// each file, and 50 000 small files took 8 s with it and 2 s without.
	args := append([]string{}, features...)
	args = append(args, "copy", "--log-format", "raw")
	if !c.CheckSignatures {
		args = append(args, "--no-check-sigs")
	}
	if c.Substitute {
		args = append(args, "--substitute-on-destination", "--option", "connect-timeout", fetchPatience)
		args = append(args, options...)
	}
	if c.From != "" {
		args = append(args, "--from", c.From)
	}
	args = append(args, "--to", c.To.URI)
	for _, path := range c.Paths {
		if !isStorePath(path) {
			return nil, fmt.Errorf("%q is not a store path", path)
		}
	}
	return append(args, c.Paths...), nil
}

// Copy copies closures from one store to another. What that has already is not sent
// again.
//
// The error is an [*Error] or the context's. Where the socket's other end goes
// away its kind is [Disconnected], and whoever owns that end knows why.
func (n *Nix) Copy(ctx context.Context, c Transfer, on func(Progress)) error {
	args, err := c.arguments()
	if err != nil {
		return fmt.Errorf("copy: %v", err)
	}
	if len(c.Paths) == 0 {
		return nil
	}
	t := newTracker(copying, on)
	t.sizes = c.Sizes
	t.remark = c.To.expected
	t.count.Unit, t.counted.Unit = "bytes", "bytes"
	_, err = n.run(ctx, "copy", args, t)
	return err
}

// copyLine takes one line that `nix copy` writes for people. Nix says first
// how many paths it copies, then each path when it begins with it; an error is
// the last that it says and may have several lines.
func (t *tracker) copyLine(line []byte) {
	text := strings.TrimRight(clean(string(line), mostErrorBytes), " \n")
	number, isTotal := cutBoth(text, "copying ", " paths...")
	path, isPath := cutBoth(text, "copying path '", "...")
	switch {
	case len(t.errorLines) > 0 || strings.HasPrefix(text, "error:"):
		t.keepErrorLine(text)
	case isPath:
		path, _, _ = strings.Cut(path, "'")
		t.beginPath(path)
	case isTotal:
		// What was fetched from caches before has been begun by then.
		t.endPath()
		t.count.PathsTotal = t.count.Paths + parseCount(number)
		if t.sizes != nil && t.count.PathsTotal == int64(len(t.sizes)) {
			t.count.Total = t.sizes.Total()
		}
	case strings.Contains(text, "; retrying in "): // one for each path of a cache that is gone
		t.looseLine(string(line))
	case strings.HasPrefix(text, "warning:"):
		t.note("warning", strings.TrimSpace(strings.TrimPrefix(text, "warning:")))
	default:
		t.looseLine(string(line))
	}
}

// beginPath counts the path before as done: Nix sends one after the other.
func (t *tracker) beginPath(path string) {
	t.endPath()
	t.current = path
	t.count.Activity = storeName(path)
}

func (t *tracker) endPath() {
	if t.current == "" {
		return
	}
	t.count.Paths++
	t.count.Done += t.sizes[t.current]
	t.current = ""
}

// keepErrorLine keeps a line of the error message.
func (t *tracker) keepErrorLine(line string) {
	if t.failBytes += len(line) + 1; t.failBytes <= mostErrorBytes {
		t.errorLines = append(t.errorLines, line)
	}
}

func parseCount(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

func cutBoth(text, prefix, suffix string) (string, bool) {
	middle, begins := strings.CutPrefix(text, prefix)
	middle, ends := strings.CutSuffix(middle, suffix)
	return middle, begins && ends
}
