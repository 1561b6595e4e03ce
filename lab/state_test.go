package lab

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestFreeNumber(t *testing.T) {
	numbers := func(numbers ...int) (records []hostRecord) {
		for _, number := range numbers {
			records = append(records, hostRecord{Number: number})
		}
		return records
	}
	for name, test := range map[string]struct {
		used []hostRecord
		want int
	}{
		"first":        {nil, 2},
		"next":         {numbers(2, 3), 4},
		"gap":          {numbers(4, 2), 3},
		"unregistered": {numbers(0, 0), 2},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := freeNumber(test.used); err != nil || got != test.want {
				t.Errorf("got %d, %v; want %d", got, err, test.want)
			}
		})
	}
	full := make([]hostRecord, 0, lastNumber)
	for number := firstNumber; number <= lastNumber; number++ {
		full = append(full, hostRecord{Number: number})
	}
	if number, err := freeNumber(full); err == nil {
		t.Errorf("a full network gave %d", number)
	}
}

func TestAddressesAndPorts(t *testing.T) {
	for number, want := range map[int]string{1: "10.44.0.1", 2: "10.44.0.2", 256: "10.44.1.0", lastNumber: "10.44.255.254"} {
		if got := addressOf(number).String(); got != want {
			t.Errorf("address of %d: got %s, want %s", number, got, want)
		}
	}
	// A longer name of a network device is replaced by a hash, and not found again.
	if port := portOf(lastNumber); len(port) > 15 {
		t.Errorf("port name %s is too long", port)
	}
}

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "web1": true, "web-1": true, strings.Repeat("a", 32): true,
		"": false, "-a": false, "a-": false, "A": false, "a.b": false, "../a": false, "a/b": false,
		"a\nb": false, strings.Repeat("a", 33): false,
	} {
		if err := checkName(name); (err == nil) != ok {
			t.Errorf("name %q: %v", name, err)
		}
	}
}

func TestRecordOnDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "host.json")
	var got hostRecord
	if err := readJSON(path, &got); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("missing file: %v", err)
	}
	want := hostRecord{Name: "web1", Number: 3, Kind: kindHost, Loader: GRUB, HostKey: "ssh-ed25519 A", Lower: "/a:/b"}
	for range 2 { // the second time it replaces a file
		if err := writeJSON(path, want); err != nil {
			t.Fatal(err)
		}
	}
	if err := readJSON(path, &got); err != nil || got.Name != want.Name || got.Number != want.Number || got.Lower != want.Lower {
		t.Errorf("got %+v, %v", got, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("file mode: %v, %v", info.Mode(), err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("left beside the file: %v, %v", entries, err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := readJSON(path, &got); err == nil {
		t.Error("half a file is read")
	}
}

func TestLockFileExcludes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	var inside, most int
	var count sync.Mutex
	var tasks sync.WaitGroup
	for range 8 {
		tasks.Go(func() {
			unlock, err := lockFile(t.Context(), path)
			if err != nil {
				t.Error(err)
				return
			}
			defer unlock()
			count.Lock()
			inside++
			most = max(most, inside)
			count.Unlock()
			time.Sleep(time.Millisecond)
			count.Lock()
			inside--
			count.Unlock()
		})
	}
	tasks.Wait()
	if most != 1 {
		t.Errorf("%d held the lock at the same time", most)
	}

	unlock, err := lockFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := lockFile(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a held lock: %v", err)
	}
}

func TestListensOnSSH(t *testing.T) {
	const header = "  sl  local_address rem_address   st tx_queue\n"
	for name, test := range map[string]struct {
		table string
		want  bool
	}{
		"version 4":   {header + "   0: 00000000:0016 00000000:0000 0A 00000000\n", true},
		"version 6":   {header + "   0: " + strings.Repeat("0", 32) + ":0016 " + strings.Repeat("0", 32) + ":0000 0A 0\n", true},
		"connected":   {header + "   0: 0300000A:0016 0200000A:D431 01 00000000\n", false},
		"other port":  {header + "   0: 00000000:1600 00000000:0000 0A 00000000\n", false},
		"no sockets":  {header, false},
		"broken line": {"0016 0A\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := listensOnSSH(test.table); got != test.want {
				t.Errorf("got %t", got)
			}
		})
	}
}
