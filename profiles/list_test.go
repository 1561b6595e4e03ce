package profiles

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestListTellsGenerationsNewestFirst(t *testing.T) {
	profile := set(t, 9, 2, 9, 10)
	dir := filepath.Dir(profile)
	gone := filepath.Join(dir, "gone")
	if err := os.Symlink(gone, filepath.Join(dir, "system-11-link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"system-0-link", "system-x-link", "other-3-link", "system-12-link.tmp"} {
		if err := os.Symlink(dir, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "system-13-link"), 0o700); err != nil {
		t.Fatal(err)
	}
	made := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := []unix.Timespec{unix.NsecToTimespec(made.UnixNano()), unix.NsecToTimespec(made.UnixNano())}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(dir, "system-2-link"), at, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		t.Fatal(err)
	}
	list, err := List(profile)
	if err != nil {
		t.Fatal(err)
	}
	var numbers []int
	for _, g := range list {
		numbers = append(numbers, g.Number)
	}
	if !slices.Equal(numbers, []int{11, 10, 9, 2}) {
		t.Fatalf("generations %v", numbers)
	}
	if list[0].Path != gone {
		t.Errorf("a generation that leads nowhere is %s", list[0].Path)
	}
	current, err := Current(profile)
	if err != nil || list[2].Generation != current {
		t.Errorf("the current generation is %+v, listed as %+v; %v", current, list[2], err)
	}
	if !list[3].Date.Equal(made) {
		t.Errorf("the date is %v, not that of the link", list[3].Date)
	}
	if list, err := List(filepath.Join(dir, "none", "system")); len(list) != 0 || err != nil {
		t.Errorf("a profile that does not exist: %v, %v", list, err)
	}
}
