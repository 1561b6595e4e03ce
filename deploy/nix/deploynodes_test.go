package nix

import (
	"errors"
	"strings"
	"testing"
)

func TestDeployNodes(t *testing.T) {
	n := fakeNix(t, `echo '{"nix":"2.26.3","top":{},"nodes":[]}'`)
	query := NodesQuery{Settings: []string{"sshUser"}, Targets: []NodeName{{Node: `a"b${c}`, Profile: "p"}, {Node: "d", Word: "d.e"}}}
	if _, err := n.DeployNodes(t.Context(), "/infra", query, nil); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"eval\n", "--json\n/infra#.\n--apply\n", `{ node = "a\"b\${c}"; profile = "p"; word = null; }`, `{ node = "d"; profile = null; word = "d.e"; }`, `settings = [ "sshUser" ];`,
	} {
		if !strings.Contains(calls(t, n), want) {
			t.Errorf("%q is not in the call %s", want, calls(t, n))
		}
	}
}

func TestDeployNodesThatAreNotThere(t *testing.T) {
	for answer, says := range map[string]string{
		`{"noDeploy":true,"available":["a","b\u001b[1m"]}`: "no output deploy, only a, b",
		`{"noNodes":true}`: "deploy has no nodes",
		`{"missing":[{"node":"x","available":["y"]},{"node":"y","profile":"z","available":["system"]}]}`: "find node \"x\"",
		`{"nodes":`: "read the answer of nix",
	} {
		_, err := fakeNix(t, "cat <<'END'\n"+answer+"\nEND").DeployNodes(t.Context(), "/infra", NodesQuery{}, nil)
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%s: %v, want %q", answer, err, says)
		}
	}
	n := fakeNix(t, `echo '{"missing":[{"node":"x","available":["y"]},{"node":"y","profile":"z"}]}'`)
	_, err := n.DeployNodes(t.Context(), "/infra", NodesQuery{}, nil)
	var unknown *UnknownNodeError
	if !errors.As(err, &unknown) || unknown.Node != "x" || unknown.Profile != "" || len(unknown.Available) != 1 {
		t.Errorf("got %+v", unknown)
	}
}

// Nix 2.18 has no name for the root of the outputs.
func TestDeployNodesWithOldNix(t *testing.T) {
	n := fakeNix(t, `case "$*" in
*--version) echo "nix (Nix) 2.18.9" ;;
*"#. "*) echo "error: no root" >&2; exit 1 ;;
*) echo '{"nodes":[]}' ;;
esac`)
	if _, err := n.DeployNodes(t.Context(), "/infra", NodesQuery{}, nil); err != nil {
		t.Fatal(err)
	}
	if said := calls(t, n); !strings.Contains(said, "/infra#deploy\n") || !strings.Contains(said, "{ deploy = value; }") {
		t.Errorf("calls: %s", said)
	}
}

func TestDeployNodesRefusesFlakesThatAreNone(t *testing.T) {
	for _, flake := range []string{"", "-x", "a#b", "a\nb"} {
		if _, err := (&Nix{Program: "/nowhere"}).DeployNodes(t.Context(), flake, NodesQuery{}, nil); err == nil {
			t.Errorf("%q is taken", flake)
		}
	}
}
