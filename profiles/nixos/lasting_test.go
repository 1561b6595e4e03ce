package nixos

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUpperLayer(t *testing.T) {
	top := t.TempDir()
	upper, inner := filepath.Join(top, "upper"), filepath.Join(top, "inner")
	for _, dir := range []string{upper, inner} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	const lines = `21 1 0:20 / / rw,relatime shared:1 - overlay overlay rw,lowerdir=/l,upperdir=UPPER,workdir=/w
22 21 0:21 / /etc ro,nosuid shared:2 master:3 - overlay overlay rw,lowerdir=/l,upperdir=/sysrootINNER,workdir=/w
23 21 0:22 / /home rw - ext4 /dev/sda1 rw
24 21 0:23 / /gone rw - overlay overlay rw,upperdir=/no/such/place
bogus
`
	table := filepath.Join(top, "mountinfo")
	text := strings.NewReplacer("UPPER", upper, "INNER", inner).Replace(lines)
	if err := os.WriteFile(table, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/var/lib": upper, "/": upper, "/etcetera": upper, "/etc": inner, "/etc/systemd": inner, "/home/ann": "", "/gone": "",
	} {
		if got, err := upperLayer(table, path); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v; want %q", path, got, err, want)
		}
	}
}

func TestForgets(t *testing.T) {
	if why := forgets("/dev/shm/no/such/place"); !strings.Contains(why, "in memory") {
		t.Errorf("/dev/shm lasts: %q", why)
	}
	if why := forgets("/proc"); why != "" {
		t.Errorf("/proc: %s", why)
	}
}
