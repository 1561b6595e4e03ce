package lab

import (
	"os"
	"path/filepath"
	"testing"
)

func TestRootDirNeverLeavesTheRoot(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "file"), []byte("outside"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for link, target := range map[string]string{
		"absolute": outside, // exists on this machine, not in the root
		"upwards":  "../../../../../.." + outside,
		"etc":      "/system/etc",
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := openRootDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()

	for _, name := range []string{"/absolute/file", "/upwards/file", "/../.." + outside + "/file"} {
		if data, err := root.readFile(name); err == nil {
			t.Errorf("%s read %q", name, data)
		}
	}
	if err := root.makeDirs("/system/etc"); err != nil {
		t.Fatal(err)
	}
	if err := root.writeFile("/etc/new/file", []byte("inside"), 0o640); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "system/etc/new/file")
	data, err := os.ReadFile(file)
	if err != nil || string(data) != "inside" {
		t.Errorf("the file in the root has %q, %v", data, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("its mode: %v, %v", info, err)
	}
	if err := root.writeFile("/etc/new/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if data, err := root.readFile("etc/new/file"); err != nil || len(data) != 0 {
		t.Errorf("the rewritten file has %q, %v", data, err)
	}
}
