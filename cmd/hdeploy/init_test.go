package main

import (
	"bufio"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/hosts"
)

// A person is asked for each address, again where it is none, and no other question.
func TestInitAsksForAddresses(t *testing.T) {
	s, _, errOut := testStreams(t)
	s.In, s.InTTY, s.ErrTTY = strings.NewReader("192.0.2.1\n\nroot@web3\n 2001:db8::1 \n"), true, true
	list := []initHost{{name: "web1"}, {name: "web2"}, {name: "web3"}}
	if err := askAddresses(t.Context(), s, list); err != nil {
		t.Fatal(err)
	}
	text := initFile(".", list)
	path := filepath.Join(s.Dir, hosts.FileName)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	inv, err := hosts.Load(path, deploy.ProbeKinds())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range inv.Hosts {
		got = append(got, h.Name+"="+h.Address)
	}
	if strings.Join(got, " ") != "web1=192.0.2.1 web2=web2 web3=2001:db8::1" {
		t.Errorf("got %v", got)
	}
	if strings.Count(errOut.String(), "address of ") != 4 || !strings.Contains(errOut.String(), "the user has a setting of its own") {
		t.Errorf("asked %q", errOut)
	}
}

func TestInitWithoutAnAnswer(t *testing.T) {
	s, _, _ := testStreams(t)
	s.In = strings.NewReader("")
	if err := askAddresses(t.Context(), s, []initHost{{name: "web1"}}); err == nil || !strings.Contains(err.Error(), "the answers ended") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	silent, speaker, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer speaker.Close()
	if _, err := readLine(ctx, bufio.NewReader(silent)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// Every hint in the file is a setting that hdeploy takes as it stands.
func TestInitHintsAreSettings(t *testing.T) {
	text := initFile("./infra", []initHost{{name: "web1"}, {name: "web2.example.org", address: "192.0.2.7"}})
	var b strings.Builder
	for line := range strings.Lines(text) {
		hint, _ := strings.CutPrefix(line, "# ")
		if strings.HasPrefix(hint, "[") || strings.Contains(hint, " = ") {
			line = hint
		}
		b.WriteString(line)
	}
	path := filepath.Join(t.TempDir(), hosts.FileName)
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	inv, err := hosts.Load(path, deploy.ProbeKinds())
	if err != nil {
		t.Fatalf("%v in\n%s", err, b.String())
	}
	if h := inv.Hosts[0]; h.User != "deploy" || len(h.Probes) != 1 || len(h.Tags) != 1 || h.Address != "192.0.2.10" {
		t.Errorf("got %+v", h)
	}
	requireFits(t, strings.Join(strings.Split(text, "\n")[1:], "\n"))
	if !strings.HasPrefix(text, "#:schema https://") {
		t.Error("editors find no schema")
	}
	if err := judged(t, compiledSchema(t), b.String()); err != nil {
		t.Error(err)
	}
}
