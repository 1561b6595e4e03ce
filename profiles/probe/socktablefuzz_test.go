package probe

import "testing"

// What the kernel's tables say is taken apart without a crash, whatever stands there.
func FuzzSocketTables(f *testing.F) {
	f.Add("tcp", "   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0")
	f.Add("tcp6", "   0: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 7 1")
	f.Add("unix", "0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/x.sock")
	f.Add("unix", "ffff: 2 0 10000 1 1 9")
	f.Fuzz(func(t *testing.T, protocol, line string) {
		if s, ok := parseInet(protocol, line); ok && !s.local.IsValid() {
			t.Errorf("%q became %+v", line, s)
		}
		parseUnix(protocol, line)
		parseHexAddress(line)
		socketInode(line)
	})
}
