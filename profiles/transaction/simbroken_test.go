package transaction

import (
	"context"
	"encoding/json"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/hbohlen/hdeploy/profiles/atomicfile"
)

// forgetful is a file system whose fsync does nothing: that of files, or that of
// one directory.
type forgetful struct {
	simFS
	dir string
}

func (f forgetful) OpenFile(name string, flag int, mode fs.FileMode) (atomicfile.File, error) {
	file, err := f.simFS.OpenFile(name, flag, mode)
	opened, ok := file.(*simFile)
	if ok && (opened.dir && f.dir == name || !opened.dir && f.dir == "") {
		return unsynced{opened}, err
	}
	return file, err
}

type unsynced struct{ *simFile }

func (unsynced) Sync() error { return nil }

// unclaimed is a file system on which claims keep nobody out.
type unclaimed struct{ simFS }

func (u unclaimed) OpenFile(name string, flag int, mode fs.FileMode) (atomicfile.File, error) {
	file, err := u.simFS.OpenFile(name, flag, mode)
	if opened, ok := file.(*simFile); ok && path.Ext(name) == ".lock" {
		return shared{opened}, err
	}
	return file, err
}

type shared struct{ *simFile }

func (shared) Claim() error { return nil }

// noDisarm leaves the timer of the dead-man's switch.
type noDisarm struct{ simHost }

func (h noDisarm) Finish(ctx context.Context, r Record) error {
	r.BootID = "another"
	return h.simHost.Finish(ctx, r)
}

// endless finds a state from which the host never comes to rest, however things
// go on; nil where there is no such state.
func (k *walk) endless() *world {
	before := make([][]int32, len(k.all))
	index := make(map[world]int32, len(k.all))
	for i, w := range k.all {
		index[w] = int32(i)
	}
	var rest []int32
	for i, w := range k.all {
		rests := true
		k.steps(w, func(next world, n note) {
			if next != w && !n.voluntary {
				rests = false
				before[index[next]] = append(before[index[next]], int32(i))
			}
		})
		if rests {
			rest = append(rest, int32(i))
		}
	}
	ends := make([]bool, len(k.all))
	for len(rest) > 0 {
		i := rest[len(rest)-1]
		rest = rest[:len(rest)-1]
		if !ends[i] {
			ends[i] = true
			rest = append(rest, before[i]...)
		}
	}
	if i := slices.Index(ends, false); i >= 0 {
		return &k.all[i]
	}
	return nil
}

func timeless(r Record) string {
	r.Started, r.Ended = time.Time{}, time.Time{}
	r.Steps = slices.Clone(r.Steps)
	for i := range r.Steps {
		r.Steps[i].At = time.Time{}
	}
	text, _ := json.Marshal(r)
	return string(text)
}

// records lists the records that were reached, without the times of day.
func (k *walk) records() []string {
	seen := map[string]bool{}
	for _, w := range k.all {
		if r := k.look(w.disk).record; r != nil {
			seen[timeless(*r)] = true
		}
	}
	var list []string
	for text := range seen {
		list = append(list, text)
	}
	slices.Sort(list)
	return list
}
