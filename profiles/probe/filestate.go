package probe

import (
	"context"
	"fmt"
	"maps"
	"os"
	"syscall"

	"github.com/hbohlen/hdeploy/profiles/systemd"
)

// FileState is what stat tells of a file, and nothing of what is in it. The time
// of its last change is left out: whoever sets the owner that it has already, as
// activations do, changes that.
type FileState struct {
	// Mode is the kernel's: type and permissions.
	Mode  uint32 `json:"mode,omitempty"`
	UID   uint32 `json:"uid,omitempty"`
	GID   uint32 `json:"gid,omitempty"`
	Size  int64  `json:"size,omitempty"`
	Inode uint64 `json:"inode,omitempty"`
	// Modified is in ns since the epoch.
	Modified int64 `json:"modified,omitempty"`
}

// mostFiles caps the files of a baseline.
const mostFiles = 4096

// aboutFiles is implemented by questions about files, whose states before the
// trial the baseline keeps.
type aboutFiles interface{ paths() []string }

// Add adds what the probes at hand ask about and a baseline has not anyway: the
// states of their files, and all that systemd tells of their units, of which
// [Take] shows the inactive ones in brief. It is cheap, and called when the
// probes are known, right before the trial.
func (b *Baseline) Add(ctx context.Context, m systemd.Manager, specs []Spec) error {
	var units []string
	files := map[string]FileState{}
	for _, s := range specs {
		if s.Ask == nil || s.From != FromHost {
			continue
		}
		for _, name := range s.Ask.units() {
			if u, ok := b.Units[name]; ok && u.Invocation == "" && u.Load == "loaded" && u.Active == "inactive" {
				units = append(units, name)
			}
		}
		asking, ok := s.Ask.(aboutFiles)
		if !ok {
			continue
		}
		for _, path := range asking.paths() {
			if state, err := stateOf(path); err == nil && len(files) < mostFiles {
				files[path] = state
			}
		}
	}
	b.Files = files
	if len(units) == 0 {
		return nil
	}
	shown, err := m.Show(ctx, units...)
	if err != nil {
		return fmt.Errorf("take the baseline: %w", err)
	}
	// The baseline may be one that others look at, too.
	b.Units = maps.Clone(b.Units)
	maps.Copy(b.Units, shown)
	return nil
}

// stateOf does not follow a link: a link that leads elsewhere now is a change.
// What it leads to is looked at by its own path.
func stateOf(path string) (FileState, error) {
	var st syscall.Stat_t
	err := syscall.Lstat(path, &st)
	if err != nil {
		return FileState{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return FileState{
		Mode: st.Mode, UID: st.Uid, GID: st.Gid, Size: st.Size, Inode: st.Ino, Modified: st.Mtim.Nano(),
	}, nil
}

// flawIsOld says whether what is wrong with a file was wrong before the trial: the file
// is the very one that the baseline saw, or, of its mode and owners, has the same ones.
// One that was missing and still is may be new in the system that is tried, and is
// blamed on it.
func (b *Baseline) flawIsOld(path string, f flaw) bool {
	if b == nil {
		return false
	}
	before, known := b.Files[path]
	now, err := stateOf(path)
	if f.class == "mode" || f.class == "owner" {
		return known && err == nil && before.Mode == now.Mode && before.UID == now.UID && before.GID == now.GID
	}
	return known && err == nil && before == now
}

func (o *OnePasswordSpec) paths() []string {
	var paths []string
	if o.TokenFile != "" {
		paths = append(paths, o.TokenFile)
	}
	for _, s := range o.Secrets {
		paths = append(paths, s.Path)
	}
	return paths
}

func (h *HerculesSpec) paths() []string {
	full := h.withDefaults()
	return []string{full.secrets(), full.TokenPath, full.CachesPath}
}
