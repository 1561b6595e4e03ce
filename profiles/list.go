package profiles

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Dated is a generation and when it was made.
type Dated struct {
	Generation
	Date time.Time `json:"date"`
}

// List returns the generations of profile, newest first. One that leads nowhere
// is listed with the path that its link names.
func List(profile string) ([]Dated, error) {
	entries, err := os.ReadDir(filepath.Dir(profile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list generations: %v", err)
	}
	var list []Dated
	for _, entry := range entries {
		number, ok := generationNumber(profile, entry.Name())
		if !ok {
			continue
		}
		link := filepath.Join(filepath.Dir(profile), entry.Name())
		path, err := os.Readlink(link)
		if err != nil {
			continue // removed meanwhile, or no link
		}
		if real, err := filepath.EvalSymlinks(link); err == nil {
			path = real
		}
		one := Dated{Generation: Generation{Link: entry.Name(), Number: number, Path: path}}
		if info, err := entry.Info(); err == nil {
			one.Date = info.ModTime()
		}
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b Dated) int { return b.Number - a.Number })
	return list, nil
}
