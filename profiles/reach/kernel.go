package reach

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// bigEndian says how this machine has numbers in its memory.
var bigEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 0x100

// readProc reads a table of the kernel's, of which the first megabytes suffice: routes
// to everywhere stand before those to single places.
func readProc(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 4<<20))
	if err != nil {
		return "", fmt.Errorf("read %s: %v", path, err)
	}
	return string(text), nil
}
