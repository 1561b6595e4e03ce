package nixos

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDescribe(t *testing.T) {
	for name, c := range map[string]struct {
		version, image, modules string
		wantVersion, wantKernel string
	}{
		"modules":           {"25.05.20250601.abcdef1\n", "/nix/store/00000000000000000000000000000000-linux-6.12.30/bzImage", "6.12.30-hardened1", "25.05.20250601.abcdef1", "6.12.30-hardened1"},
		"no modules":        {"25.05", "/nix/store/00000000000000000000000000000000-linux-6.12.30/bzImage", "", "25.05", "6.12.30"},
		"a kernel variant":  {"25.05", "/nix/store/00000000000000000000000000000000-linux-zen-6.12.30/bzImage", "", "25.05", "6.12.30"},
		"a nameless kernel": {"25.05", "/nix/store/00000000000000000000000000000000-kernel/bzImage", "", "25.05", ""},
		"a container":       {"25.05", "", "", "25.05", ""},
		"nothing":           {},
		"a huge version":    {version: strings.Repeat("9", 1<<20), wantVersion: strings.Repeat("9", versionLimit)},
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			if c.version != "" {
				if err := os.WriteFile(filepath.Join(top, "nixos-version"), []byte(c.version), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if c.image != "" {
				if err := os.Symlink(c.image, filepath.Join(top, "kernel")); err != nil {
					t.Fatal(err)
				}
			}
			if c.modules != "" {
				if err := os.MkdirAll(filepath.Join(top, "kernel-modules/lib/modules", c.modules), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if version, kernel := Describe(top); version != c.wantVersion || kernel != c.wantKernel {
				t.Errorf("version %.40q, kernel %q; want %.40q and %q", version, kernel, c.wantVersion, c.wantKernel)
			}
		})
	}
}
