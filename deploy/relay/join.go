package relay

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// Socket is the path of the socket.
func (r *Relay) Socket() string { return filepath.Join(r.folder, "s") }

// Link makes a program callable by a path that has no characters that mean something
// to a shell. It goes with the relay, and may be asked for more than once.
func (r *Relay) Link(program string) (path string, err error) {
	path = filepath.Join(r.folder, "join")
	if err := os.Symlink(program, path); err != nil && !os.IsExist(err) {
		return "", fmt.Errorf("link a program for Nix: %v", err)
	}
	return path, nil
}

// Join connects in and out with the socket of a relay, until that ends or ctx does:
// what Nix starts as the program of a store. in is closed by nobody, and may be read
// from for the last time after the return.
func Join(ctx context.Context, socket string, in io.Reader, out io.Writer) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("join the relay: %v", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	go func() {
		if _, err := io.Copy(conn, in); err == nil {
			_ = closeWrite(conn)
		}
	}()
	if _, err := io.Copy(out, conn); err != nil && ctx.Err() == nil {
		return fmt.Errorf("join the relay: %v", err)
	}
	return nil
}

// unplain says that a path has characters that mean something in the URI of a store
// or to a shell.
func unplain(path string) bool {
	return strings.IndexFunc(path, func(r rune) bool {
		return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("+-./_", r))
	}) >= 0
}
