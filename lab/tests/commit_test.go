//go:build lab

package tests

import (
	"syscall"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/lab"
)

func TestCommitThatFailsIsUndone(t *testing.T) {
	t.Parallel()
	for _, loader := range []string{lab.GRUB, lab.SystemdBoot} {
		t.Run(loader, func(t *testing.T) {
			s := newSite(t, lab.HostOptions{Loader: loader})
			before := s.snapshot()
			s.faulty("no boot loader", settings{"bootFull": true})
			r := s.deploy().require("rolled-back", 7).requireFailure("boot loader")
			if step := r.Outcome.Failure.Step; step != "commit" {
				t.Errorf("the step is %q", step)
			}
			requireRestored(t, before, s.snapshot())
			requireBoots(t, s, before.Running)
			s.requireWorks()
		})
	}
}

func TestBootDiskThatFillsUpDuringTheTrial(t *testing.T) {
	s := newSite(t, lab.HostOptions{Disks: map[string]string{"/boot": "4M"}})
	before := s.snapshot()
	s.hold(30 * time.Second)
	s.faulty("no room to boot", nil)
	r := s.startSwitch(command{})
	r.awaitPhase(event.Verify, event.Started)
	s.on("dd if=/dev/zero of=/boot/ballast bs=4k 2>/dev/null || sync")
	s.release()
	r.wait().require("rolled-back", 7).requireFailure("boot loader", "no space left")
	s.on("rm /boot/ballast")
	requireBoots(t, s, before.Running)
	requireRestored(t, before, s.snapshot())
	s.requireWorks()
}

func TestSystemWithAnotherKernelSaysThatARebootIsNeeded(t *testing.T) {
	s := newSite(t, lab.HostOptions{})
	s.configure(settings{"revision": "kernel", "kernel": "6.12.31"})
	r := s.deploy().require("committed", 0)
	if !r.Outcome.RebootNeeded || !r.noted("reboot") {
		t.Errorf("the reboot is not told; %s", r.story())
	}
	requireBoots(t, s, r.Outcome.Closure)
	if err := s.host.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := s.deploy().require("unchanged", 0); r.Outcome.RebootNeeded {
		t.Error("a reboot is needed after the reboot")
	}
}

func TestInterruptedRunGoesBack(t *testing.T) {
	s := newSite(t, lab.HostOptions{Loader: lab.GRUB})
	before := s.snapshot()
	s.hold(40 * time.Second)
	s.faulty("interrupted", nil)
	r := s.startSwitch(command{})
	r.awaitPhase(event.Verify, event.Started)
	if err := r.process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	interrupted := time.Now()
	r.wait().require("interrupted", 10).requireFailure("interrupted by root@workstation")
	if took := time.Since(interrupted); took > 20*time.Second {
		t.Errorf("it took %v to end an interrupted run", took)
	}
	requireRestored(t, before, s.snapshot())
	s.requireWorks()
}

func TestPowerCutRightAfterTheCommitBootsTheNewSystem(t *testing.T) {
	t.Parallel()
	for _, loader := range []string{lab.GRUB, lab.SystemdBoot} {
		t.Run(loader, func(t *testing.T) {
			s := newSite(t, lab.HostOptions{Loader: loader})
			s.faulty("durable", nil)
			r := s.startSwitch(command{})
			r.awaitPhase(event.Commit, event.Done)
			s.powerCut()
			s.powerOn()
			after := takeSnapshot(t, s.host)
			r.wait().require("committed", 0)
			requireRuns(t, after, r.Outcome.Closure)
			s.deploy().require("unchanged", 0)
			requireNothingLeft(t, s.snapshot())
		})
	}
}
