package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/atomicfile"
	"github.com/hbohlen/hdeploy/profiles/nixos"
	"github.com/hbohlen/hdeploy/profiles/reach"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// writeMetrics replaces the file name with what a monitoring system asks of a host, for the
// textfile collector of Prometheus' node exporter. It changes nothing else.
func (a agent) writeMetrics(name string) error {
	// The collector reads no other file, and a relative one is nobody's.
	if !filepath.IsAbs(name) || filepath.Ext(name) != ".prom" {
		return fmt.Errorf("write metrics: %q: want an absolute path that ends in .prom", name)
	}
	text := a.metrics(nixos.Look(profiles.System).Kernel)
	if err := atomicfile.Write(name, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write metrics: %v", err)
	}
	return nil
}

// metrics leaves out what is not known: a gap in a graph is true, and a zero would not be.
// booted are the parts of the kernel that was booted, as in protocol.Facts.
func (a agent) metrics(booted map[string]string) string {
	var e exposition
	last, err := a.engine.Store.Load()
	e.truth("hdeploy_readable", "Whether the record of deployments on this host can be read.", err == nil)
	if err == nil && last != nil {
		e.deployment(*last)
	}
	history := a.engine.Store.History()
	for _, r := range history {
		if r.State == transaction.Committed {
			e.instant("hdeploy_committed_timestamp_seconds", "When a deployment was last committed.", r.Ended)
			break
		}
	}
	e.systems(a.engine.Host, history, booted)
	if freeze, err := a.engine.Store.Frozen(); err == nil {
		e.truth("hdeploy_frozen", "Whether a person keeps every deployment from this host.", freeze != nil)
	}
	return e.text.String()
}

// exposition is a text in the format that Prometheus reads:
// https://prometheus.io/docs/instrumenting/exposition_formats/
type exposition struct{ text strings.Builder }

// deployment tells the one that is under way, or else the newest.
func (e *exposition) deployment(r transaction.Record) {
	e.family("hdeploy_deployment_info", "The deployment under way, or the newest one. A cause says why it went back.")
	fmt.Fprintf(&e.text, "hdeploy_deployment_info{id=%s,action=%s,cause=%s,revision=%s} 1\n",
		label(r.ID), label(string(r.Action)), label(string(r.Cause)), label(r.Revision))
	e.family("hdeploy_deployment_state", "1 for the state that this deployment is in.")
	for _, state := range transaction.States {
		fmt.Fprintf(&e.text, "hdeploy_deployment_state{state=%s} %d\n", label(string(state)), number(state == r.State))
	}
	e.sample("hdeploy_deployment_number", "How many deployments the host has had.", r.Number)
	e.instant("hdeploy_deployment_started_timestamp_seconds", "When this deployment began.", r.Started)
	e.instant("hdeploy_deployment_ended_timestamp_seconds", "When this deployment ended.", r.Ended)
	if r.Proof != nil {
		e.truth("hdeploy_deployment_inbound_proven", "Whether a host that decided alone was proven to let traffic in.",
			r.Proof.Inbound != reach.NotProven)
	}
}

// systems tells what the host runs and boots, whoever made it so.
func (e *exposition) systems(host transaction.Host, history []transaction.Record, booted map[string]string) {
	running, _, err := host.Look(profiles.System)
	if err != nil || running == "" {
		return
	}
	e.family("hdeploy_system_verdict", "1 for what the deployments say about the system that runs.")
	verdict := transaction.VerdictOn(history, running)
	for _, v := range []transaction.Verdict{transaction.Confirmed, transaction.Rejected, transaction.NotDecided} {
		fmt.Fprintf(&e.text, "hdeploy_system_verdict{verdict=%s} %d\n", label(string(v)), number(v == verdict))
	}
	if boots, err := host.Boots(); err == nil && boots != "" {
		e.truth("hdeploy_boots_what_runs", "Whether the system that runs is the one that boots next.", boots == running)
	}
	e.truth("hdeploy_needs_reboot", "Whether the system that runs has another kernel than the one that was booted.",
		nixos.NeedsReboot(booted, running))
}

// family announces samples of one name, which follow it.
func (e *exposition) family(name, help string) {
	fmt.Fprintf(&e.text, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name)
}

func (e *exposition) sample(name, help string, value uint64) {
	e.family(name, help)
	fmt.Fprintf(&e.text, "%s %d\n", name, value)
}

func (e *exposition) truth(name, help string, value bool) { e.sample(name, help, number(value)) }

// instant leaves out one that was not reached.
func (e *exposition) instant(name, help string, at time.Time) {
	if at.Unix() > 0 {
		e.sample(name, help, uint64(at.Unix()))
	}
}

func number(value bool) uint64 {
	if value {
		return 1
	}
	return 0
}

var escapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// label quotes a value that a file had.
func label(value string) string { return `"` + escapes.Replace(printable(value)) + `"` }
