package deploy

import "testing"

// scripts/check-lib compares the file with what Nix makes of lib.expectations.
func TestManifestOfTheFlakeIsRead(t *testing.T) {
	m, err := ReadManifest("testdata/manifest.golden")
	if err != nil {
		t.Fatal(err)
	}
	if m.HostName != "web1" || m.System != "x86_64-linux" || m.Toplevel != "/nix/store/00000000000000000000000000000000-nixos-system-web1-26.05.stand-in" {
		t.Errorf("read %+v", m)
	}
	expected, err := readExpectations(m.Expectations)
	if err != nil || expected == nil || expected.Services.HerculesCI == nil || expected.Services.OnePassword != nil {
		t.Errorf("read %+v, %v", expected, err)
	}
}
