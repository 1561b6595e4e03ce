//go:build lab

package nix

import (
	"context"
	"encoding/json"
	"os/exec"
	"reflect"
	"testing"
)

// What CI writes into a file at build time is what a run with the flake would find.
func TestLabManifestIsWhatIsEvaluated(t *testing.T) {
	n, flake := realNix(t)
	hosts := []string{"web1", "web2", "disabled"}
	var wanted []Attribute
	for _, host := range hosts {
		wanted = append(wanted, toplevelOf(host))
	}
	evaluated, err := n.Evaluate(context.Background(), flake, wanted, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range hosts {
		function := "outputs: (" + expectationsNix + ").manifest outputs.nixosConfigurations." + host
		output, err := exec.CommandContext(t.Context(), "nix", arguments("eval", "--json", flake+"#.", "--apply", function)...).Output()
		if err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		var got Manifest
		if err := json.Unmarshal(output, &got); err != nil {
			t.Fatal(err)
		}
		e := evaluated[host]
		want := Manifest{Version: 1, HostName: e.HostName, System: e.System, Toplevel: e.OutPath, Expectations: e.Expectations}
		if !reflect.DeepEqual(got, want) || len(got.Expectations) == 0 {
			t.Errorf("%s: the manifest is %s, evaluated is %+v", host, output, want)
		}
	}
}
