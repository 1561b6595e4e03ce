package nix

import (
	"cmp"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// Variable names the nix program where it is set, whatever PATH has: a sandbox may have
// no PATH that leads anywhere.
const Variable = "HDEPLOY_NIX"

// usualPlaces are looked at where PATH leads nowhere.
var usualPlaces = []string{"/run/current-system/sw/bin", "/nix/var/nix/profiles/default/bin"}

// Find looks nix up: where [Variable] says, in PATH, beside this program, and, where PATH
// names no folder that exists, where it usually is. The error is a [*MissingError]. The
// version is not asked for, since that costs a process: [Nix.Evaluate] learns it on the
// way and fails with a [*TooOldError]; a caller that does not evaluate may use
// [Nix.Version].
func Find(context.Context) (*Nix, error) {
	if program := os.Getenv(Variable); program != "" {
		if !filepath.IsAbs(program) || !executable(program) {
			return nil, &MissingError{Cause: errors.New(Variable + " is " + oneLine(program, 200) + ", which is no absolute path of a program")}
		}
		return &Nix{Program: program}, nil
	}
	program, err := exec.LookPath("nix")
	if errors.Is(err, exec.ErrDot) {
		return nil, &MissingError{Cause: errors.New("PATH leads to a nix in the current directory, which is not trusted")}
	}
	if err != nil {
		if program = beside(); program == "" {
			return nil, &MissingError{Cause: err}
		}
	}
	return &Nix{Program: program}, nil
}

// beside is the nix that PATH does not lead to, empty where there is none.
func beside() string {
	var folders []string
	if self, err := os.Executable(); err == nil {
		folders = append(folders, filepath.Dir(self))
	}
	if !leadsSomewhere(os.Getenv("PATH")) {
		folders = append(folders, usualPlaces...)
	}
	for _, folder := range folders {
		if program := filepath.Join(folder, "nix"); executable(program) {
			return program
		}
	}
	return ""
}

func leadsSomewhere(path string) bool {
	return slices.ContainsFunc(filepath.SplitList(path), func(folder string) bool {
		info, err := os.Stat(cmp.Or(folder, "."))
		return err == nil && info.IsDir()
	})
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0
}
