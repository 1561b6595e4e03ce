package transaction

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// The locks by which processes show that they act for a transaction. The kernel
// drops them when the process ends, however it ends.
const (
	// actorLock is held by the one that drives: supervisor, dead-man's switch, or
	// whoever settles.
	actorLock = "actor.lock"
	// takerLock is held by the one that takes over, so that of the dead-man's
	// switch and those who settle only one does.
	takerLock = "taker.lock"
	// starterLock is held by the agent that starts the transaction.
	starterLock = "starter.lock"
)

// ErrClaimed says that another process acts for the transaction.
var ErrClaimed = errors.New("another process acts for it")

// claim marks that this process acts for transaction id until release is called
// or the process ends. The error wraps [ErrClaimed] where another one does.
func (s Store) claim(id, lock string) (release func(), err error) {
	if err := s.fs().MkdirAll(filepath.Join(s.Run, id), 0o700); err != nil {
		return nil, fmt.Errorf("claim transaction: %v", err)
	}
	f, err := s.fs().OpenFile(filepath.Join(s.Run, id, lock), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("claim transaction: %v", err)
	}
	if err := f.Claim(); err != nil {
		f.Close()
		if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) {
			err = ErrClaimed
		}
		return nil, fmt.Errorf("claim transaction %s: %w", id, err)
	}
	return func() { f.Close() }, nil
}

// claimed says whether a process holds a lock of transaction id. It only asks:
// a lock taken to find out would make a claim of the same instant fail.
func (s Store) claimed(id, lock string) bool {
	f, err := s.fs().OpenFile(filepath.Join(s.Run, id, lock), os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	held, err := f.Claimed()
	return err == nil && held
}
