package atomicfile

import (
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// FS is the file system that durable files are kept on: [OS], or a simulated one
// that can lose at a power cut what was not synced. Its methods are those of
// package os.
type FS interface {
	OpenFile(name string, flag int, mode fs.FileMode) (File, error)
	MkdirAll(dir string, mode fs.FileMode) error
	ReadDir(dir string) ([]fs.DirEntry, error)
	Symlink(target, name string) error
	Rename(from, to string) error
	Remove(name string) error
	RemoveAll(name string) error
	Watch(dirs ...string) Changes
}

// File is an open file of an [FS]. Closing it drops its locks.
type File interface {
	io.ReadWriteCloser
	Chmod(mode fs.FileMode) error
	Sync() error
	// Allocate reserves size bytes without changing what is there.
	Allocate(size int64) error
	// Lock takes the lock of flock(2). It does not wait: the error is EWOULDBLOCK
	// where another open file holds it.
	Lock() error
	// Claim takes the lock of fcntl(2) that belongs to the open file. It does not
	// wait: the error is EAGAIN or EACCES where another open file holds it.
	Claim() error
	// Claimed says whether another open file holds that lock, without taking it.
	Claimed() (bool, error)
}

// OS is the file system of this machine.
var OS FS = system{}

type system struct{}

func (system) OpenFile(name string, flag int, mode fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, mode)
	if err != nil {
		return nil, err // no typed nil in an interface
	}
	return osFile{f}, nil
}

func (system) MkdirAll(dir string, mode fs.FileMode) error { return os.MkdirAll(dir, mode) }
func (system) ReadDir(dir string) ([]fs.DirEntry, error)   { return os.ReadDir(dir) }
func (system) Symlink(target, name string) error           { return os.Symlink(target, name) }
func (system) Rename(from, to string) error                { return os.Rename(from, to) }
func (system) Remove(name string) error                    { return os.Remove(name) }
func (system) RemoveAll(name string) error                 { return os.RemoveAll(name) }
func (system) Watch(dirs ...string) Changes                { return watch(dirs) }

type osFile struct{ *os.File }

func (f osFile) Allocate(size int64) error { return syscall.Fallocate(int(f.Fd()), 0, 0, size) }

func (f osFile) Lock() error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }

func (f osFile) Claim() error {
	return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
}

func (f osFile) Claimed() (bool, error) {
	held := unix.Flock_t{Type: unix.F_WRLCK}
	err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &held)
	return held.Type != unix.F_UNLCK, err
}
