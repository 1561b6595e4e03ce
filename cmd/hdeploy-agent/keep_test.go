package main

import (
	"encoding/json"
	"os/user"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/profiles/program"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// A push is known of a profile, and judged before anything is kept.
func TestPushOfAProfile(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	for params, want := range map[string]string{
		`{"id":"../abcd1234","new":"/nix/store/00000000000000000000000000000000-a"}`: "not an id",
		`{"id":"abcd1234","new":"/etc"}`:                                             "not a store path",
		`[]`:                                                                         "read request",
	} {
		request, err := json.Marshal(protocol.ProfileRequest{
			Program: transaction.Program{Profile: "home", User: me.Username, Kind: program.HomeManager}, Method: protocol.MethodPush, Params: json.RawMessage(params),
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := testAgent(t).handle(t.Context(), protocol.MethodProfile, request, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", params, err)
		}
	}
}
