package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// terminal is a pair of a pseudo terminal's ends.
type terminal struct {
	master, slave *os.File
}

func openTerminal() (terminal, error) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		return terminal{}, fmt.Errorf("open terminal: %v", err)
	}
	// Fd would make reads of the master block for ever, also where it is closed.
	control, err := master.SyscallConn()
	if err != nil {
		return terminal{}, err
	}
	var number int
	var failure error
	err = control.Control(func(fd uintptr) {
		if failure = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); failure == nil {
			number, failure = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err == nil {
		err = failure
	}
	if err != nil {
		master.Close()
		return terminal{}, fmt.Errorf("open terminal: %v", err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		master.Close()
		return terminal{}, fmt.Errorf("open terminal: %v", err)
	}
	return terminal{master: master, slave: slave}, nil
}
