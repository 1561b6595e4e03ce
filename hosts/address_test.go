package hosts

import (
	"slices"
	"testing"
)

func TestParseAddress(t *testing.T) {
	for text, want := range map[string]struct {
		address string
		port    int
		bad     bool
	}{
		"web1":             {address: "web1"},
		"web1.example.org": {address: "web1.example.org"},
		"web1:2222":        {address: "web1", port: 2222},
		"192.0.2.1":        {address: "192.0.2.1"},
		"192.0.2.1:22":     {address: "192.0.2.1", port: 22},
		"2001:db8::1":      {address: "2001:db8::1"},
		"[2001:db8::1]":    {address: "2001:db8::1"},
		"[2001:db8::1]:80": {address: "2001:db8::1", port: 80},
		"local":            {address: "local"},
		"local:22":         {address: "local", port: 22},
		"":                 {bad: true},
		":22":              {bad: true},
		"web1:":            {bad: true},
		"web1:ssh":         {bad: true},
		"web1:65536":       {bad: true},
		"-oProxyCommand=x": {bad: true},
		"a b":              {bad: true},
		"ann@web1":         {bad: true},
		"ssh://web1":       {bad: true},
		"[web1":            {bad: true},
	} {
		address, port, err := ParseAddress(text)
		if err != nil != want.bad || address != want.address || port != want.port {
			t.Errorf("%q: %q, %d, %v", text, address, port, err)
		}
	}
}

func TestAtAnotherPlace(t *testing.T) {
	host := NewHost("web1")
	host.Confirm = &Endpoint{Address: "web1", Port: 2222, User: "root"}
	said := Origins{"address": {{Level: LevelOption, File: "--address"}}}
	got := host.At("192.0.2.7", 2200, "ann", said)
	if got.Address != "192.0.2.7" || got.Port != 2200 || got.User != "ann" || !slices.Equal(got.Elevation, DefaultElevation("ann")) {
		t.Errorf("got %+v", got)
	}
	if c := got.Confirm; c.Address != "192.0.2.7" || c.Port != 2222 || c.User != "ann" {
		t.Errorf("the new system answers at %+v", c)
	}
	if !got.Origins.Said("address") || host.Origins.Said("address") || host.Confirm.Address != "web1" {
		t.Error("the host that was given is changed, or the new one does not say why it is elsewhere")
	}
	if got = host.At("local", 0, "", nil); !got.Local || got.At("web9", 0, "", nil).Local {
		t.Error("local is this machine, and any other address is not")
	}
	host.User, host.Elevation = "ann", []string{"doas", "--"}
	if got = host.At("", 0, "bob", nil); got.Address != "web1" || got.Port != 22 || got.Elevation[0] != "doas" {
		t.Errorf("got %+v", got)
	}
}
