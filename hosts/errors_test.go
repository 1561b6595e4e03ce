package hosts

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Each testdata/errors/NAME.toml has all its faults, as a person reads them,
// in NAME.golden.
func TestErrorsGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/errors/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".toml")
		t.Run(name, func(t *testing.T) {
			document, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = decode("deploy.toml", "/srv/deploy.toml", document, testKinds())
			var faults ConfigErrors
			if !errors.As(err, &faults) {
				t.Fatalf("got %v", err)
			}
			got := faults.Error() + "\n"
			golden := filepath.Join("testdata/errors", name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func TestConfigErrorsUnwrap(t *testing.T) {
	_, err := Load(write(t, "[hosts.web1]\nprot = 1"), testKinds())
	var fault *ConfigError
	if !errors.As(err, &fault) || fault.Line != 2 || fault.Column != 1 || fault.Suggestion != "port" {
		t.Errorf("got %+v", fault)
	}
}

func TestLoadRefusesWhatIsNoFile(t *testing.T) {
	large := write(t, strings.Repeat("#", mostBytes+1))
	for name, path := range map[string]string{"absent": filepath.Join(t.TempDir(), "x"), "folder": t.TempDir(), "large": large} {
		var faults ConfigErrors
		if _, err := Load(path, testKinds()); !errors.As(err, &faults) || faults[0].Line != 0 || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestTooManyFaultsAreCounted(t *testing.T) {
	_, err := Load(write(t, "[hosts.web1]\n[defaults]\n"+manyKeys(mostFaults+5)), testKinds())
	if err == nil || !strings.HasSuffix(err.Error(), "5 more faults are not shown") || strings.Count(err.Error(), "\n") != mostFaults {
		t.Errorf("got %v", err)
	}
}

func manyKeys(n int) string {
	var document strings.Builder
	for i := range n {
		document.WriteString("zz" + strings.Repeat("q", i%50) + strings.Repeat("w", i/50) + " = 1\n")
	}
	return document.String()
}

func TestClosest(t *testing.T) {
	keys := []string{"address", "port", "user", "host_keys", "identity_files", "elevation", "tags", "attribute", "probes", "jump", "timeouts"}
	for word, want := range map[string]string{
		"adress": "address", "Address": "address", "prot": "port", "hostkeys": "host_keys", "host_key": "host_keys", "tag": "tags", "probe": "probes",
		"timeout": "timeouts", "attr": "attribute", "identity_file": "identity_files", "elevate": "elevation", "usr": "user",
		"banana": "", "x": "", "": "", strings.Repeat("a", 1<<20): "",
	} {
		if got := closest(word, keys); got != want {
			t.Errorf("%.20s: got %q, want %q", word, got, want)
		}
	}
}

// FuzzDecode feeds hostile files: nothing may crash, every fault must stand
// within the file and print on one line, and what is accepted must be complete.
func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/errors/*.toml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		document, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(document)
	}
	addSeeds(f)
	f.Fuzz(func(t *testing.T, document []byte) {
		if bytes.Contains(document, []byte("ssh_config")) {
			return // it could be any file of this machine
		}
		inv, err := decode("deploy.toml", "/srv/deploy.toml", document, testKinds())
		if err != nil {
			checkFaults(t, document, err)
			return
		}
		for _, host := range inv.Hosts {
			checkHost(t, host)
			checkEffective(t, host)
		}
		again, err := decode("deploy.toml", "/srv/deploy.toml", document, testKinds())
		if err == nil {
			inv.Questions, again.Questions = nil, nil // they have functions, which are never equal
		}
		if err != nil || !reflect.DeepEqual(inv, again) {
			t.Errorf("the second reading differs: %v", err)
		}
	})
}

func checkFaults(t *testing.T, document []byte, err error) {
	var faults ConfigErrors
	if !errors.As(err, &faults) || len(faults) == 0 {
		t.Fatalf("got %T", err)
	}
	lines := strings.Split(string(document), "\n")
	for _, fault := range faults {
		if fault.File != "deploy.toml" {
			continue // of the machine's own ssh_config
		}
		if strings.ContainsFunc(fault.Error(), func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Errorf("control character in %q", fault.Error())
		}
		if fault.Line > len(lines) || fault.Line > 0 && fault.Column > len(lines[fault.Line-1])+1 {
			t.Errorf("%d:%d is outside of the file", fault.Line, fault.Column)
		}
	}
}

// checkEffective wants lines that a terminal does not act on.
func checkEffective(t *testing.T, host Host) {
	for _, s := range Effective(host) {
		if line := s.TOML(80); strings.ContainsFunc(line, func(r rune) bool { return r != '\n' && r < ' ' || r == 0x7f }) {
			t.Errorf("control character in %q", line)
		}
	}
}

func checkHost(t *testing.T, host Host) {
	message, _ := checkAddress(host.Address)
	if message != "" || host.Name == "" || host.Port < 1 || host.Port > 65535 || host.User == "" || host.Attribute == "" || host.Timeouts.Connect <= 0 {
		t.Errorf("incomplete host %+v", host)
	}
	if len(host.Profiles) == 0 {
		t.Errorf("nothing to deploy on %+v", host)
	}
	for _, p := range host.Profiles {
		if p.Name == "" || p.User == "" || p.Attribute == "" || !isOneOf(p.Kind, profileKinds()) || p.Timeouts.Confirm <= 0 {
			t.Errorf("incomplete profile %+v", p)
		}
	}
	for _, probe := range host.Probes {
		if probe.Kind == "" || probe.Deadline != nil && *probe.Deadline <= 0 || probe.Passes != nil && *probe.Passes < 1 || probe.From == "" {
			t.Errorf("incomplete probe %+v", probe)
		}
	}
}
