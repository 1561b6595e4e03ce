//go:build lab

package nix

import (
	"context"
	"reflect"
	"slices"
	"testing"
)

func TestLabDeclared(t *testing.T) {
	n, flake := realNix(t)
	hosts := []Attribute{toplevelOf("agrees"), toplevelOf("foreign"), toplevelOf("disabled")}
	for i := range hosts {
		hosts[i].Login = "deploy"
	}
	evaluated, err := n.Evaluate(context.Background(), flake, hosts, nil)
	if err != nil {
		t.Fatal(err)
	}
	yes, no, keys := true, false, 2
	got := *evaluated["agrees"].Declared
	if !slices.Contains(got.Configurations, "web1") {
		t.Errorf("the configurations are %q", got.Configurations)
	}
	got.Configurations = nil
	want := Declared{
		Users:     []string{"deploy", "root"},
		Relations: []Relations{{Unit: "hercules-ci-agent.service", Orders: []string{}, Wants: []string{}, Needs: []string{}}},
		LoginKeys: &keys, Home: "/home/deploy",
		SSHD:  &SSHD{Enable: true, Ports: []int{22, 2222, 22022}, RootLogin: "no"},
		Agent: &Agent{Enable: true, Users: []string{"deploy"}, RequirePassword: true},
		Sudo:  &yes, Doas: &no, HerculesRestarts: &no,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("declared is %+v, want %+v", got, want)
	}
	// Nothing is assumed of what has no such option.
	for _, host := range []string{"foreign", "disabled"} {
		d := *evaluated[host].Declared
		d.Configurations = nil
		if !reflect.DeepEqual(d, Declared{Relations: []Relations{}}) {
			t.Errorf("%s: declared is %+v", host, d)
		}
	}
}
