package closure

import (
	"os"
	"path/filepath"
	"testing"
)

func TestDeclaredUnits(t *testing.T) {
	toplevel := func(files map[string]string) string {
		root := t.TempDir()
		for name, text := range files {
			file := filepath.Join(root, "etc/systemd/system", name)
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return root
	}
	const name = "agent.service"
	plain := toplevel(map[string]string{name: "[Service]\nExecStart=/a\n"})
	same := toplevel(map[string]string{name: "[Service]\nExecStart=/a\n", "other.service": "x"})
	other := toplevel(map[string]string{name: "[Service]\nExecStart=/b\n"})
	alone := toplevel(map[string]string{name: "[Service]\nX-RestartIfChanged=false\nExecStart=/a\n"})
	dropIn := toplevel(map[string]string{name: "[Service]\nExecStart=/a\n", name + ".d/overrides.conf": "[Unit]\nX-RestartIfChanged=false\n"})
	again := toplevel(map[string]string{name: "[Service]\nX-RestartIfChanged=false\nExecStart=/a\n", name + ".d/overrides.conf": "[Unit]\nX-RestartIfChanged=true\n"})
	if UnitText(plain, name) == "" || UnitText(plain, name) != UnitText(same, name) {
		t.Errorf("equal units differ: %q, %q", UnitText(plain, name), UnitText(same, name))
	}
	for _, changed := range []string{other, alone, dropIn, toplevel(nil)} {
		if UnitText(changed, name) == UnitText(plain, name) {
			t.Errorf("not seen to be another: %q", UnitText(changed, name))
		}
	}
	for _, c := range []struct {
		toplevel string
		want     bool
	}{{plain, false}, {alone, true}, {dropIn, true}, {again, false}, {toplevel(nil), false}} {
		if got := LeavesAlone(UnitText(c.toplevel, name)); got != c.want {
			t.Errorf("left alone %v: %q", got, UnitText(c.toplevel, name))
		}
	}
}
