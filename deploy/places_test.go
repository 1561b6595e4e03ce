package deploy

import (
	"errors"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles/protocol"
)

func TestElsewhere(t *testing.T) {
	for _, c := range []struct {
		build string
		local bool
		goal  Goal
		want  string
	}{
		{build: "", want: ""},
		{build: "local", want: ""},
		{build: "host", want: "web1"},
		{build: "web1", want: "web1"},
		{build: "big", want: "big"},
		{build: "host", local: true, want: ""},
		{build: "web1", local: true, want: ""},
		{build: "big", local: true, want: "big"},
		{build: "host", goal: GoalBuild, want: ""},
		{build: "big", goal: GoalPush, want: "big"},
	} {
		h := web1(t)
		h.Build, h.Local, h.run.Goal = c.build, c.local, c.goal
		if got := h.elsewhere(); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

// Whoever builds is named, with what stands against it and what to do about that.
func TestNobodyBuildsWhereThereIsNoHost(t *testing.T) {
	h := web1(t)
	h.Build = "big"
	h.run.Builders = []hosts.Host{hosts.NewHost("small")}
	var f *Failure
	if err := h.buildElsewhere(t.Context()); !errors.As(err, &f) {
		t.Fatalf("got %v", err)
	}
	if f.Code != CodeBuild || f.Step != "build" || f.Next == "" || !strings.Contains(f.Cause.Error(), `on big, which builds for it: deploy.toml has no host "big"`) {
		t.Errorf("got %+v", f)
	}
}

func TestPlaceFailureKeepsTheNextCommand(t *testing.T) {
	h := web1(t)
	h.Build = "big"
	err := h.placeFailure("big", refused("big", "host key", "hdeploy trust big", "the host key is unknown"))
	var f *Failure
	if !errors.As(err, &f) || f.Host != "web1" || f.Code != CodeBuild || f.Next != "hdeploy trust big" || f.Cause.Error() != "on big, which builds for it: the host key is unknown" {
		t.Errorf("got %+v", f)
	}
	err = h.placeFailure("web1", &protocol.Error{Code: protocol.CodeRefused, Message: "the disk is read-only"})
	if !errors.As(err, &f) || f.Cause.Error() != "the disk is read-only" || f.Next != "hdeploy status web1" {
		t.Errorf("got %+v", f)
	}
}

// What only the host has seen is judged as what is here.
func TestJudgedByWhatTheHostTells(t *testing.T) {
	h := web1(t)
	h.facts.Inhibitors = []byte(`{"dbus":"daemon"}`)
	h.facts.Kernel = map[string]string{"kernel": "/old", "initrd": "/old-initrd"}
	h.facts.OwnBoot, h.facts.FreeBoot = true, bootReserve+9
	h.system.OutPath = "/nix/store/9ydg6g87yrgqj7g0kxgqf8gfbkmg1isv-elsewhere"
	h.builtThere = &protocol.Toplevel{Switches: true, Inhibitors: []byte(`{"dbus":"broker"}`),
		Kernel: map[string]string{"kernel": "/new", "initrd": "/old-initrd"}, Bytes: map[string]int64{"kernel": 10, "initrd": 1 << 40}}
	refusal(t, h.checkSystem(), "judge", "dbus")
	refusal(t, h.checkBootRoom(), "space", "/boot")
	if !h.needsReboot() {
		t.Error("a new kernel needs no reboot")
	}
	h.builtThere.Switches = false
	refusal(t, h.checkSystem(), "judge", "is not a NixOS system")
}

// A check builds nowhere but here, and says so.
func TestCheckDoesNotBuildElsewhere(t *testing.T) {
	h := web1(t)
	h.Build = "host"
	c := &checkup{hostRun: h}
	c.run.buildFor(t.Context(), []*checkup{c}) // there is no nix to call
	c.newSystem(t.Context())
	if len(c.findings) != 1 || !strings.Contains(c.findings[0].Cause, "is built on web1") || c.unbuilt != nil {
		t.Errorf("got %+v", c.findings)
	}
}
