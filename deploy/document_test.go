package deploy

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles/probe"
)

var tomlBlock = regexp.MustCompile("(?ms)^```toml\n(.*?)^```$")

// Every example of a document is a deploy.toml that loads as it stands.
func TestDocumentedExamplesLoad(t *testing.T) {
	for _, file := range []string{"../docs/deploy-toml.md", "../docs/probes.md", "../README.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		blocks := tomlBlock.FindAllStringSubmatch(string(text), -1)
		if len(blocks) == 0 {
			t.Errorf("%s has no toml block", file)
		}
		for i, block := range blocks {
			t.Run(fmt.Sprintf("%s/%d", filepath.Base(file), i+1), func(t *testing.T) { inventory(t, block[1]) })
		}
	}
}

func TestOwnDeployTOMLLoads(t *testing.T) {
	inv, err := hosts.Load("../"+hosts.FileName, ProbeKinds())
	if err != nil {
		t.Fatal(err)
	}
	selected, err := inv.Select([]string{"@ci"})
	if err != nil {
		t.Fatal(err)
	}
	if len(selected) != 1 || selected[0].Name != "hetzner-vps" {
		t.Fatalf("@ci selects %v", selected)
	}
	var probes []string
	for _, p := range selected[0].Probes {
		probes = append(probes, p.Kind)
	}
	if want := []string{probe.KindOnePassword, probe.KindHercules}; !slices.Equal(probes, want) {
		t.Errorf("probes %v, want %v", probes, want)
	}
}
