package main

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/profiles/protocol"
)

func TestReadSettings(t *testing.T) {
	got := readSettings([]byte("allow-dirty = true\nbuilders = @/etc/nix/machines\ncores = 0\nmax-jobs = 2\npost-build-hook = \nsubstituters = https://a https://b\nsecret-key-files = /k\n"))
	want := map[string]string{"builders": "@/etc/nix/machines", "cores": "0", "max-jobs": "2", "post-build-hook": "", "substituters": "https://a https://b"}
	if !maps.Equal(got.Settings, want) {
		t.Errorf("got %v", got.Settings)
	}
	if got := readSettings([]byte("cores\nmax-jobs=3\n")); len(got.Settings) != 0 {
		t.Errorf("lines of another form: %v", got.Settings)
	}
}

func FuzzReadSettings(f *testing.F) {
	f.Add("cores = 0\nbuilders = ssh-ng://b x86_64-linux - 4 ; ssh://c\n")
	f.Add("post-build-hook =\nsubstituters = \x1b[31m\n")
	f.Fuzz(func(t *testing.T, output string) {
		for name, value := range readSettings([]byte(output)).Settings {
			if strings.ContainsAny(value, "\n\x1b\x00") {
				t.Errorf("%s is %q", name, value)
			}
		}
	})
}

func TestBuiltRefuses(t *testing.T) {
	for _, p := range []protocol.BuiltRequest{{Path: "/etc/passwd", For: "web1"}, {Path: "/nix/store/9ydg6g87yrgqj7g0kxgqf8gfbkmg1isv-x", For: "../x"}, {Path: "/nix/store/9ydg6g87yrgqj7g0kxgqf8gfbkmg1isv-x"}} {
		params, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (agent{}).handle(t.Context(), protocol.MethodBuilt, params, nil); err == nil || !strings.Contains(err.Error(), "not ") {
			t.Errorf("%+v: %v", p, err)
		}
	}
}
