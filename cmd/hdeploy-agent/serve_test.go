package main

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

func TestArgumentsOfPeopleAreRefused(t *testing.T) {
	for _, args := range [][]string{nil, {"help"}, {"supervise"}, {"supervise", "../x"}, {"deadman", "A"}, {"deadman", id, "more", "words"}, {"attach", id, "app"}, {"switch"}, {"switch", "result"}, {"serve", "now"}} {
		if err := run(context.Background(), args); err == nil || !strings.Contains(err.Error(), "run by hdeploy") {
			t.Errorf("%q: %v", args, err)
		}
	}
}

// alone is a request whose wish to decide alone is this.
func alone(wish string) string {
	return `{"id":"abcd1234","profile":"/nix/var/nix/profiles/system","new":"/nix/store/00000000000000000000000000000000-a","limits":{"activation":1,"confirm":1,"commit":1,"rollback":1,"grace":1},"alone":` + wish + `}`
}

func TestRequestsAreRefused(t *testing.T) {
	top := t.TempDir()
	for _, c := range []struct{ name, method, params, bad string }{
		{"unknown method", "explode", `{}`, "does not know"},
		{"wrong type", protocol.MethodFacts, `[]`, "read request"},
		{"no parameters", protocol.MethodStart, ``, "read request"},
		{"log of a path", protocol.MethodLog, `{"id":"../../etc/passwd"}`, "not a transaction id"},
		{"watch of a path", protocol.MethodWatch, `{"id":".."}`, "not a transaction id"},
		{"start of a bad id", protocol.MethodStart, `{"id":"x"}`, "not a transaction id"},
		{"start of another profile", protocol.MethodStart, `{"id":"abcd1234","profile":"/etc","new":"/nix/store/00000000000000000000000000000000-a","limits":{"activation":1,"confirm":1,"commit":1,"rollback":1,"grace":1}}`, "not the system profile"},
		{"start of a path", protocol.MethodStart, `{"id":"abcd1234","profile":"/nix/var/nix/profiles/system","new":"` + top + `"}`, "not a store path"},
		{"start without an end", protocol.MethodStart, `{"id":"abcd1234","profile":"/nix/var/nix/profiles/system","new":"/nix/store/00000000000000000000000000000000-a"}`, "limit"},
		{"start with a last resort that is none", protocol.MethodStart, `{"id":"abcd1234","profile":"/nix/var/nix/profiles/system","new":"/nix/store/00000000000000000000000000000000-a","last_resort":"explode"}`, "last resort"},
		{"start of a reboot that is kept", protocol.MethodStart, `{"id":"abcd1234","profile":"/nix/var/nix/profiles/system","new":"/nix/store/00000000000000000000000000000000-a","action":"reboot","keep":true}`, "booted once"},
		{"start alone with an option for a user", protocol.MethodStart, alone(`{"question":{"users":["-oX"]}}`), "to decide alone: not the name of an account"},
		{"start alone with a path outward", protocol.MethodStart, alone(`{"question":{"outward":["https://a/../b"]}}`), "to decide alone: not an address outward"},
		{"start alone with a pattern of units", protocol.MethodStart, alone(`{"restart_last":["*"]}`), "to decide alone"},
		{"start alone with another choice", protocol.MethodStart, alone(`{"on_unknown":"never"}`), "to decide alone: not a choice"},
		{"confirm without any", protocol.MethodConfirm, `{"id":"abcd1234"}`, "not the current transaction"},
		{"abort without any", protocol.MethodAbort, `{"id":"abcd1234"}`, "not the current transaction"},
		{"preview without an end", protocol.MethodDryActivate, `{"id":"abcd1234","new":"/nix/store/00000000000000000000000000000000-a"}`, "not a limit"},
		{"preview of a path", protocol.MethodDryActivate, `{"id":"abcd1234","new":"` + top + `","limit":1000000000}`, "not a store path"},
		{"preview under a path", protocol.MethodDryActivate, `{"id":"../abcd1234","new":"` + top + `","limit":1000000000}`, "not an id"},
		{"push of a path", protocol.MethodPush, `{"id":"abcd1234","new":"/etc"}`, "not a store path"},
		{"push under a path", protocol.MethodPush, `{"id":"../../abcd","new":"/nix/store/00000000000000000000000000000000-a"}`, "not an id"},
		{"a witness under a path", protocol.MethodWitness, `{"id":"../../abcd","for":1000000000}`, "not a transaction id"},
		{"a witness without an end", protocol.MethodWitness, `{"id":"abcd1234","address":"192.0.2.1","port":22,"host_keys":["x"],"for":9000000000000000}`, "at most"},
		{"a witness before its beginning", protocol.MethodWitness, `{"id":"abcd1234","for":-1}`, "at most"},
		{"a witness with an option", protocol.MethodWitness, `{"id":"abcd1234","address":"-oProxyCommand=reboot","port":22,"for":1000000000}`, "neither an address nor the name"},
		{"a witness that believes anybody", protocol.MethodWitness, `{"id":"abcd1234","address":"192.0.2.1","port":22,"for":1000000000}`, "host keys"},
		{"a witness of a user with an option", protocol.MethodWitness, `{"id":"abcd1234","address":"192.0.2.1","port":22,"user":"-x","for":1000000000}`, "name of a user"},
		{"a probe that is none", protocol.MethodProbe, `{"probes":[{"name":"x","kind":"bogus"}]}`, "probe x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := testAgent(t).handle(context.Background(), c.method, json.RawMessage(c.params), func(any) error { return nil })
			var refused *protocol.Error
			if !errors.As(err, &refused) || refused.Code == protocol.CodeInternal || !strings.Contains(refused.Message, c.bad) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestMissingNamesOnlyStorePathsThatAreNotThere(t *testing.T) {
	const path = "/nix/store/00000000000000000000000000000000-hdeploy-test-is-not-there"
	got := missing(protocol.MissingRequest{Paths: []string{path, "/etc", "/no/such/path", ""}})
	if len(got.Paths) != 1 || got.Paths[0] != path {
		t.Errorf("got %v", got.Paths)
	}
}

func TestRefusedConfirmationsCarryTheStateThatWon(t *testing.T) {
	a := testAgent(t)
	a.engine.Host = nil
	_, err := a.decided(nil, transaction.ErrOther)
	var said *protocol.Error
	if !errors.As(err, &said) || said.Code != protocol.CodeUnknown {
		t.Errorf("got %v", err)
	}
}

// banned is what must not run as root on every host, with the reason.
var banned = map[string]string{
	"golang.org/x/crypto/ssh":         "the deployer connects, not the agent",
	"github.com/urfave/cli/v2":        "people do not run the agent",
	"github.com/pelletier/go-toml/v2": "deploy.toml stays with the deployer",
	"github.com/charmbracelet":        "the agent has no terminal",
	"github.com/rs/zerolog":           "the agent writes to the journal",
	"text/template":                   "it keeps unused methods in the program",
}

func TestTheAgentLinksLittle(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.FieldsSeq(string(out)) {
		for prefix, why := range banned {
			if dep == prefix || strings.HasPrefix(dep, prefix+"/") {
				t.Errorf("the agent links %s: %s", dep, why)
			}
		}
		if strings.HasPrefix(dep, "github.com/hbohlen/hdeploy/") && !strings.HasPrefix(dep, "github.com/hbohlen/hdeploy/profiles") && !strings.HasSuffix(dep, "/hdeploy-agent") {
			t.Errorf("the agent links %s: it is not one of profiles", dep)
		}
	}
}

// The agent is built as scripts/build does it.
func TestTheAgentIsSmallAndStatic(t *testing.T) {
	file := filepath.Join(t.TempDir(), "agent")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-tags", "nethttpomithttp2", "-gcflags=all=-l", "-ldflags", "-s -w", "-o", file, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if info, err := os.Stat(file); err != nil || info.Size() > 8<<20 {
		t.Errorf("%d bytes, more than 8 MiB; %v", info.Size(), err)
	}
	program, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("it has a %v: NixOS has no /lib/ld-linux", p.Type)
		}
	}
	if libraries, err := program.ImportedLibraries(); len(libraries) != 0 {
		t.Errorf("it needs %v, %v", libraries, err)
	}
	if out, err := exec.Command(file, "version").Output(); err != nil || string(out) != protocol.Release+"\n" {
		t.Errorf("version %q, %v", out, err)
	}
	greets(t, file)
}

// greets fails unless the program says hello to its peer and ends with it.
func greets(t *testing.T, file string) {
	t.Helper()
	var in, out bytes.Buffer
	own := protocol.Hello{Protocol: protocol.Version, Program: "test"}
	if err := protocol.SendHello(&in, own); err != nil {
		t.Fatal(err)
	}
	serve := exec.Command(file, "serve")
	serve.Stdin, serve.Stdout = &in, &out
	if err := serve.Run(); err != nil {
		t.Errorf("it did not end in peace with its peer: %v", err)
	}
	if peer, err := protocol.ReceiveHello(&out, own); err != nil || peer.Program != protocol.Release {
		t.Errorf("it said %+v, %v", peer, err)
	}
}
