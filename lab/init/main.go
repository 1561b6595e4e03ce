// Command init is the firmware and boot loader of a lab host: PID 1 until it has found which system boots, which it then becomes.
// It decides from nothing but what is in /boot, as a real machine would, so that "which system boots" has one honest answer.
package main

import (
	"fmt"
	"os"
	"syscall"
)

func main() {
	choice, err := choose("/boot")
	if err != nil {
		fmt.Fprintf(os.Stderr, "lab-init: %v\n", err)
		os.Exit(1)
	}
	fmt.Printf("lab-init: booting %s: %s\n", choice.title, choice.init)
	// The environment stays: systemd learns from it that it runs in a container.
	err = syscall.Exec(choice.init, append([]string{choice.init}, os.Args[1:]...), os.Environ())
	fmt.Fprintf(os.Stderr, "lab-init: start %s: %v\n", choice.init, err)
	os.Exit(1)
}
