package nix

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// graceToEnd is how long nix gets to kill its builders and to let go of
	// its locks once it was told to end.
	graceToEnd = 3 * time.Second
	// mostOutputBytes is far above the answer for any fleet.
	mostOutputBytes = 64 << 20
	// mostLogLine is the longest line of the log that is read as one; a
	// builder may print a longer one.
	mostLogLine = 1 << 20
)

// run starts nix, feeds its stderr to the tracker and returns its stdout. When
// the context ends, nix is told to end and after a grace killed, with all
// that it started. The error is the context's, or an [*Error].
func (n *Nix) run(ctx context.Context, step string, args []string, t *tracker) ([]byte, error) {
	stdout := &cappedBuffer{most: mostOutputBytes}
	stderr := &lineWriter{most: mostLogLine, line: t.line}
	cmd := exec.CommandContext(ctx, n.Program, args...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if len(n.Env) > 0 {
		cmd.Env = append(os.Environ(), n.Env...)
	}
	// A session of its own: a terminal's Ctrl-C reaches hdeploy alone, which
	// decides what it means, and a fetcher that wants to ask for a password
	// finds no terminal and fails instead of waiting, stopped, for ever.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = graceToEnd
	err := cmd.Run()
	if ctx.Err() != nil && cmd.Process != nil {
		// What ignored the first signal; without effect if nothing is left.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	stderr.flush()
	if err == nil {
		t.finish()
	}
	t.report(true)
	switch {
	case ctx.Err() != nil && err != nil:
		return nil, fmt.Errorf("%s: %w", step, context.Cause(ctx))
	case errors.Is(err, exec.ErrWaitDelay) && cmd.ProcessState.Success():
		// Something nix started, such as a shared ssh connection, still
		// holds its stderr; nix itself is done.
	case err != nil:
		return nil, t.explain(step, err)
	}
	if stdout.overflow {
		return nil, &Error{Step: step, Cause: fmt.Sprintf("nix printed more than %d MiB", mostOutputBytes>>20)}
	}
	return stdout.kept.Bytes(), nil
}

// explain makes an error of what nix said before it failed.
func (t *tracker) explain(step string, exit error) *Error {
	if len(t.errorLines) > 0 {
		t.failures = append(t.failures, failure{text: strings.Join(t.errorLines, "\n")})
	}
	e := &Error{Step: step, Log: t.failedLog}
	if len(t.failures) > 0 {
		e.Kind, e.Cause = t.root()
		e.Output = t.said()
	} else {
		e.Cause = fmt.Sprintf("nix ended without a reason: %v", exit)
		if len(t.loose) > 0 {
			e.Output = strings.Join(t.loose, "\n")
			e.Cause = core(innermost(e.Output))
			e.Kind = classify(e.Cause)
		}
	}
	if e.Kind == BuilderFailed && slices.ContainsFunc(e.Log, func(line string) bool { return classify(line) == DiskFull }) {
		e.Kind = DiskFull
	}
	e.Hint = hints[e.Kind]
	return e
}

// root picks the failure that the others follow from. Nix says first what
// went wrong and then which derivations could not be built for that; the
// first message of a known kind is the root, else the first one.
func (t *tracker) root() (Kind, string) {
	for _, f := range t.failures {
		cause := f.cause()
		if kind := classify(cause); kind != "" {
			return kind, cause
		}
	}
	return "", t.failures[0].cause()
}

// said is all that nix said about the failure.
func (t *tracker) said() string {
	texts := make([]string, len(t.failures))
	for i, f := range t.failures {
		texts[i] = f.text
	}
	return strings.Join(texts, "\n")
}

// cappedBuffer keeps the first bytes and drops the rest, so that the writer
// is not stopped in the middle. The buffer is no embedded field: io.Copy would
// find its ReadFrom and never call Write.
type cappedBuffer struct {
	kept     bytes.Buffer
	most     int
	overflow bool
}

func (b *cappedBuffer) Write(p []byte) (int, error) {
	if b.overflow || b.kept.Len()+len(p) > b.most {
		b.overflow = true
		return len(p), nil
	}
	return b.kept.Write(p)
}

// lineWriter cuts what is written to it into lines. Of a line that is too long
// only the beginning is passed on.
type lineWriter struct {
	most    int
	line    func([]byte)
	pending []byte
	// skipping is set while the rest of a line that was too long goes by.
	skipping bool
}

func (w *lineWriter) Write(p []byte) (int, error) {
	size := len(p)
	for {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			w.keep(p)
			return size, nil
		}
		if len(w.pending) == 0 && !w.skipping && end <= w.most {
			w.line(p[:end])
		} else {
			w.keep(p[:end])
			w.flush()
		}
		w.skipping = false
		p = p[end+1:]
	}
}

func (w *lineWriter) keep(p []byte) {
	if w.skipping {
		return
	}
	if room := w.most - len(w.pending); len(p) > room {
		w.pending = append(w.pending, p[:room]...)
		w.flush()
		w.skipping = true
		return
	}
	w.pending = append(w.pending, p...)
}

// flush passes on the line that has no end yet.
func (w *lineWriter) flush() {
	if len(w.pending) > 0 {
		w.line(w.pending)
		w.pending = w.pending[:0]
	}
}
