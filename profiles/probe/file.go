package probe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// FileSpec asks what a path is. What is not given is not judged.
type FileSpec struct {
	Path string `json:"path"`
	// Absent wants nothing to be there.
	Absent bool `json:"absent,omitempty"`
	// Type is one of the types of files; empty for any.
	Type string `json:"type,omitempty"`
	// Mode is octal; Owner and Group are names or numbers of the host.
	Mode  string `json:"mode,omitempty"`
	Owner string `json:"owner,omitempty"`
	Group string `json:"group,omitempty"`
	// SizeLeast and SizeMost are bytes.
	SizeLeast int64  `json:"size_least,omitempty"`
	SizeMost  *int64 `json:"size_most,omitempty"`
	// AgeLeast and AgeMost are the time since the content was last written.
	AgeLeast time.Duration `json:"age_least,omitempty"`
	AgeMost  time.Duration `json:"age_most,omitempty"`
	// SinceTrial wants it to be written since the trial began. Where there was
	// no trial it is not judged.
	SinceTrial bool `json:"since_trial,omitempty"`
	// Target is what a symbolic link says, as readlink prints it.
	Target string `json:"target,omitempty"`
	// Follow judges what a symbolic link leads to. With a Target, or the type
	// symlink, the link itself is judged.
	Follow bool `json:"follow"`
}

// symlink is the type that is never found by following.
const symlink = "symlink"

func fileTypes() []string {
	return []string{"file", "directory", symlink, "socket", "fifo", "block-device", "character-device"}
}

// longestAge is a year.
const longestAge = 366 * 24 * time.Hour

func fileParams() []Param {
	return []Param{
		{Name: "path", Type: Text, Required: true, Text: "an absolute path on the host"},
		{Name: "absent", Type: Flag, Default: "false", Text: "nothing may be there"},
		{Name: "type", Type: Text, Words: fileTypes(), Text: "what it is"},
		{Name: "mode", Type: Text, Text: `the exact mode in octal, for instance "0600"`},
		{Name: "owner", Type: Text, Text: "the user, by name or number"},
		{Name: "group", Type: Text, Text: "the group, by name or number"},
		{Name: "size_least", Type: Number, Text: "the size in bytes is at least this"},
		{Name: "size_most", Type: Number, Text: "the size in bytes is at most this"},
		{Name: "age_least", Type: Duration, Text: "it was last written at least this long ago"},
		{Name: "age_most", Type: Duration, Text: "it was last written at most this long ago"},
		{Name: "since_trial", Type: Flag, Default: "false", Text: "it was written since the trial began; not judged where there was none"},
		{Name: "target", Type: Text, Text: "it is a symbolic link that says this, as readlink prints it"},
		{Name: "follow", Type: Flag, Default: "true", Text: "judge what a symbolic link leads to, not the link; with target or type symlink it is the link"},
	}
}

func fileKind() kind {
	return kind{
		About:    About{Kind: KindFile, Vantages: []string{FromHost}, Text: "a path is what it should be, or is not there", Params: fileParams()},
		question: func() Question { return &FileSpec{Follow: true} },
	}
}

func (f *FileSpec) validate() error {
	errs := []error{validPath("path", f.Path), validName("owner", f.Owner), validName("group", f.Group)}
	if f.Path == "" {
		errs = append(errs, errors.New("path is missing"))
	}
	if f.Absent && *f != (FileSpec{Path: f.Path, Absent: true, Follow: f.Follow}) {
		errs = append(errs, errors.New("what is absent has nothing else to be judged"))
	}
	if f.Type != "" && !slices.Contains(fileTypes(), f.Type) {
		errs = append(errs, fmt.Errorf("type must be a type of files, not %q", clean(f.Type)))
	}
	if f.Target != "" && f.Type != "" && f.Type != symlink {
		errs = append(errs, fmt.Errorf("only a symlink has a target, not a %s", clean(f.Type)))
	}
	if f.Mode != "" && !octalMode.MatchString(f.Mode) {
		errs = append(errs, fmt.Errorf("mode must be octal, not %q", clean(f.Mode)))
	}
	if f.SizeLeast < 0 || f.SizeMost != nil && *f.SizeMost < f.SizeLeast {
		errs = append(errs, errors.New("size_least must be from 0 to size_most"))
	}
	for _, age := range []time.Duration{f.AgeLeast, f.AgeMost} {
		if age < 0 || age > longestAge {
			errs = append(errs, fmt.Errorf("an age must be from 0s to %s", longestAge))
		}
	}
	if f.AgeMost > 0 && f.AgeLeast > f.AgeMost {
		errs = append(errs, errors.New("age_least must not be more than age_most"))
	}
	return errors.Join(errs...)
}

// validName refuses what no user or group is called.
func validName(key, name string) error {
	if len(name) > 256 || clean(name) != name {
		return fmt.Errorf("%s must be the name of one, not %q", key, clean(name))
	}
	return nil
}

func (*FileSpec) units() []string { return nil }

func (f *FileSpec) try(ctx context.Context, a attempt) finding {
	return within(ctx, f.Path, func() finding {
		_, found := f.look(a)
		return found
	})
}

// within judges a file within the deadline: one on a file system whose server
// is away holds up whoever looks at it, for ever; only the end of the agent ends
// that look.
func within(ctx context.Context, path string, judge func() finding) finding {
	found := make(chan finding, 1)
	go func() { found <- judge() }()
	select {
	case f := <-found:
		return f
	case <-ctx.Done():
		return fail("timeout", path+" can be looked at", "its file system did not answer in time").try("findmnt --target " + path)
	}
}

// look judges all but the content.
func (f *FileSpec) look(a attempt) (fs.FileInfo, finding) {
	link := !f.Follow || f.Type == symlink || f.Target != ""
	stat := os.Stat
	if link {
		stat = os.Lstat
	}
	info, err := stat(f.Path)
	switch {
	case f.Absent && errors.Is(err, fs.ErrNotExist):
		// A link that leads nowhere is there.
		if _, err := os.Lstat(f.Path); errors.Is(err, fs.ErrNotExist) {
			return nil, pass(f.Path+" does not exist", "it does not exist")
		}
		return nil, fail("present", f.Path+" does not exist", "it is a link that leads nowhere")
	case f.Absent && err == nil:
		return nil, fail("present", f.Path+" does not exist", "it is a "+fileType(info))
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return nil, f.missing()
	case err != nil:
		return nil, unreadable(f.Path, err)
	}
	for _, flaw := range []func(attempt, fs.FileInfo) flaw{f.typeFlaw, f.targetFlaw, f.ownersFlaw, f.modeFlaw, f.sizeFlaw, f.ageFlaw} {
		if found := flaw(a, info); found.found() {
			return nil, found.finding()
		}
	}
	return info, pass(f.expected(), fmt.Sprintf("a %s with mode %04o", fileType(info), modeOf(info)))
}

func (f *FileSpec) expected() string { return f.Path + " is as it should be" }

func (f *FileSpec) missing() finding {
	seen := "it does not exist"
	if _, err := os.Lstat(f.Path); err == nil {
		seen = "it is a link that leads nowhere"
	}
	return fail("missing-file", f.Path+" exists", seen).try("ls -la " + f.Path)
}

// unreadable judges a path that cannot be looked at. What root is not allowed
// is the host's fault; whether it is the file's nobody can say otherwise.
func unreadable(path string, err error) finding {
	var inner *fs.PathError
	if errors.As(err, &inner) {
		err = inner.Err
	}
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		return unknown("unreadable", path+" can be looked at", "not by this user").because(err.Error())
	}
	return fail("unreadable", path+" can be looked at", err.Error())
}

func (f *FileSpec) typeFlaw(_ attempt, info fs.FileInfo) flaw {
	wanted := f.Type
	if f.Target != "" {
		wanted = symlink
	}
	if seen := fileType(info); wanted != "" && seen != wanted {
		return flaw{"type", f.Path + " is a " + wanted, "it is a " + seen, "ls -la " + f.Path}
	}
	return flaw{}
}

func (f *FileSpec) targetFlaw(_ attempt, info fs.FileInfo) flaw {
	if f.Target == "" || info.Mode()&fs.ModeSymlink == 0 {
		return flaw{}
	}
	expected := f.Path + " leads to " + f.Target
	if seen, err := os.Readlink(f.Path); err != nil || seen != f.Target {
		return flaw{"target", expected, "it leads to " + seen, "ls -la " + f.Path}
	}
	return flaw{}
}

func (f *FileSpec) ownersFlaw(_ attempt, info fs.FileInfo) flaw {
	return checkOwners(f.Path, info, f.Owner, f.Group)
}

func (f *FileSpec) modeFlaw(_ attempt, info fs.FileInfo) flaw {
	wanted, err := strconv.ParseUint(f.Mode, 8, 32)
	if err != nil || modeOf(info) == uint32(wanted) {
		return flaw{}
	}
	return flaw{"mode", fmt.Sprintf("%s has mode %04o", f.Path, wanted), fmt.Sprintf("mode %04o", modeOf(info)), fmt.Sprintf("chmod %04o %s", wanted, f.Path)}
}

func (f *FileSpec) sizeFlaw(_ attempt, info fs.FileInfo) flaw {
	switch size := info.Size(); {
	case size == 0 && f.SizeLeast > 0:
		return flaw{"empty-file", f.Path + " is not empty", "it is empty", ""}
	case size < f.SizeLeast:
		return flaw{"size", fmt.Sprintf("%s has %d bytes at least", f.Path, f.SizeLeast), fmt.Sprintf("it has %d", size), ""}
	case f.SizeMost != nil && size > *f.SizeMost:
		return flaw{"size", fmt.Sprintf("%s has %d bytes at most", f.Path, *f.SizeMost), fmt.Sprintf("it has %d", size), ""}
	}
	return flaw{}
}

// clockStep is how much older than the clock a file may be that is written now:
// the kernel stamps files with the time of its last tick.
const clockStep = 20 * time.Millisecond

func (f *FileSpec) ageFlaw(a attempt, info fs.FileInfo) flaw {
	age := time.Since(info.ModTime())
	seen := fmt.Sprintf("it was written %s ago", age.Round(time.Second))
	if began, ok := a.sinceTrial(); f.SinceTrial && ok && age > began+clockStep {
		return flaw{"stale", f.Path + " was written since the trial began", seen + ", and the trial began " + began.Round(time.Second).String() + " ago", ""}
	}
	switch {
	case age < f.AgeLeast:
		return flaw{"too-young", fmt.Sprintf("%s was not written for %s", f.Path, f.AgeLeast), seen, ""}
	case f.AgeMost > 0 && age > f.AgeMost:
		return flaw{"stale", fmt.Sprintf("%s was written in the last %s", f.Path, f.AgeMost), seen, ""}
	}
	return flaw{}
}

// sinceTrial is how long ago the trial began; of one that a reboot is part of,
// the boot. It is false where there was no trial.
func (a attempt) sinceTrial() (time.Duration, bool) {
	begin, _, trial := value(a.host).Baseline.journalBegin()
	return time.Duration(monotonic()-begin) * time.Microsecond, trial
}

func fileType(info fs.FileInfo) string {
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return "file"
	case mode.IsDir():
		return "directory"
	case mode&fs.ModeSymlink != 0:
		return symlink
	case mode&fs.ModeSocket != 0:
		return "socket"
	case mode&fs.ModeNamedPipe != 0:
		return "fifo"
	case mode&fs.ModeCharDevice != 0:
		return "character-device"
	}
	return "block-device"
}
