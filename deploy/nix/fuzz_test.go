package nix

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

// recorded adds what real programs printed to the corpus.
func recorded(f *testing.F, pattern string) {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(files) == 0 {
		f.Fatalf("nothing is recorded as %s: %v", pattern, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
}

func FuzzVersion(f *testing.F) {
	recorded(f, "*/version.txt")
	f.Fuzz(func(t *testing.T, output []byte) {
		v, err := parseVersion(string(output))
		if err != nil {
			return
		}
		if v.Major < 0 || v.Minor < 0 || v.Major > 9999 || v.Minor > 9999 || v.Flavour == "" {
			t.Errorf("%+v", v)
		}
		if len(v.Text) > 200 || strings.IndexFunc(v.Text, unicode.IsControl) >= 0 {
			t.Errorf("what is shown has control characters: %q", v.Text)
		}
		if v.Usable() && v.Major < oldestMajor {
			t.Errorf("too old: %+v", v)
		}
	})
}

func FuzzSizes(f *testing.F) {
	recorded(f, "*/path-info.txt")
	f.Fuzz(func(t *testing.T, output []byte) {
		sizes, err := parseSizes(output)
		if err != nil {
			return
		}
		for path, size := range sizes {
			if !isStorePath(path) || size < 0 || size > math.MaxInt64/2 {
				t.Errorf("%q: %d", path, size)
			}
		}
		if sizes.Total() < 0 {
			t.Error("the sum overflows")
		}
	})
}

func FuzzSigns(f *testing.F) {
	recorded(f, "*/config*.json")
	f.Fuzz(func(t *testing.T, output []byte) {
		if signs, err := parseSigns(output); signs && (err != nil || !bytes.Contains(output, []byte("value"))) {
			t.Errorf("%v without a value: %v", signs, err)
		}
	})
}

func FuzzRevision(f *testing.F) {
	recorded(f, "*/metadata-*.json")
	f.Fuzz(func(t *testing.T, output []byte) {
		r, err := parseRevision(output)
		if err == nil && r.Commit != "" && !isCommit(r.Commit) {
			t.Errorf("%+v", r)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(answerOne))
	f.Add([]byte(`{"nix":"2.26.3","missing":[{"host":"web1","gap":{"at":["nixosConfigurations","we.b\u001b[31m"],"available":["a","b"]}}]}`))
	f.Fuzz(func(t *testing.T, output []byte) {
		var a answer
		if json.Unmarshal(output, &a) != nil {
			return
		}
		result := map[string]Evaluated{}
		if err := a.into(result, []wanted{{host: "web1"}}); err != nil {
			return
		}
		for host, e := range result {
			if !isStorePath(e.DrvPath) || !isStorePath(e.OutPath) {
				t.Errorf("%q: %+v", host, e)
			}
		}
	})
}
