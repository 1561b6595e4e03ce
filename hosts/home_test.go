package hosts

import (
	"os"
	"testing"
)

// TestMain keeps the ssh_config of whoever runs the tests out of them.
func TestMain(m *testing.M) {
	if err := os.Setenv("HOME", "/nonexistent"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
