package systemd

import (
	"fmt"
	"os"
)

// RuntimeDir is the directory of the user that this program runs as that lives as
// long as the user's manager.
func RuntimeDir() string { return fmt.Sprintf("/run/user/%d", os.Getuid()) }
