package systemd

import (
	"errors"
	"io/fs"
	"syscall"
)

// gone says that a control group was removed, before it was opened or after.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV)
}
