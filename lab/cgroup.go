package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// cgroup is the control group of one host, the launcher included. The kernel kills all
// of it at once, so that nothing sees the rest die: that is what makes it a power cut.
type cgroup string

func cgroupOf(world, host string) cgroup { return cgroup(filepath.Join("/hdeploy-lab", world, host)) }

// path is where the group is on this machine, mounted alone or beside version 1.
func (c cgroup) path() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("find cgroup2: %v", err)
	}
	for line := range strings.Lines(string(mounts)) {
		before, after, _ := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 {
			return filepath.Join(fields[4], string(c)), nil
		}
	}
	return "", errors.New("find cgroup2: it is not mounted on this machine")
}

// kill ends every process of the group and removes it. A group that is not there is dead.
func (c cgroup) kill(ctx context.Context) error {
	dir, err := c.path()
	if err != nil {
		return err
	}
	err = os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("kill control group: %v", err)
	}
	err = poll(ctx, 2*time.Millisecond, func() (bool, error) {
		events, err := os.ReadFile(filepath.Join(dir, "cgroup.events"))
		return strings.Contains(string(events), "populated 0"), err
	})
	if err != nil {
		return fmt.Errorf("wait for control group %s to empty: %w", dir, err)
	}
	return c.remove()
}

// remove deletes the empty group and the groups below it.
func (c cgroup) remove() error {
	dir, err := c.path()
	if err != nil {
		return err
	}
	var groups []string
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			groups = append(groups, path)
		}
		return nil
	})
	for i := len(groups) - 1; i >= 0; i-- {
		if rmErr := os.Remove(groups[i]); rmErr != nil && !errors.Is(rmErr, fs.ErrNotExist) {
			err = errors.Join(err, rmErr)
		}
	}
	if err != nil {
		return fmt.Errorf("remove control group: %v", err)
	}
	return nil
}
