package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"time"
)

// figure is something that is measured and has a limit.
type figure struct {
	name string
	// limit is the largest good ratio of hdeploy's time to that by hand; for the memory it
	// is MiB, for a rollback and for the probes' CPU time seconds.
	limit float64
	kind  kind
	// rtt is the round trip time that is added between workstation and host.
	rtt time.Duration
}

type kind int

const (
	unchanged kind = iota // the host has the system already
	changed               // another system in every run
	copying               // the copy alone, of many large paths
	goingBack             // to the system of before, without the switch itself
	probing               // of both presets: CPU time on the host
	memory                // hdeploy's own peak over all that it did here
)

// figures are in the order in which they are measured: the memory's is taken from the
// runs of all others.
var figures = []figure{
	{"unchanged@0ms", 0.6, unchanged, 0},
	{"unchanged@50ms", 0.45, unchanged, 50 * time.Millisecond},
	{"changed@0ms", 0.8, changed, 0},
	{"changed@50ms", 0.6, changed, 50 * time.Millisecond},
	{"copy-800MiB", 0.7, copying, 0},
	{"rollback", 1.0, goingBack, 0},
	{"probes", 0.15, probing, 0},
	{"rss", 60, memory, 0},
}

func figureNames() []string {
	names := make([]string, len(figures))
	for i, f := range figures {
		names[i] = f.name
	}
	return names
}

// wanted says whether the figure is among those asked for, of which none means all.
func (f figure) wanted(only []string) bool {
	return len(only) == 0 || slices.Contains(only, f.name)
}

// reading is a figure with what was measured.
type reading struct {
	figure
	hdeploy, byHand []time.Duration
	// mebibytes is for the memory alone.
	mebibytes float64
	// trips are round trips, for the probes alone, where one is the limit.
	trips int
}

func (r reading) ratio() float64 {
	return median(r.hdeploy).Seconds() / median(r.byHand).Seconds()
}

func (r reading) missed() bool {
	switch took := median(r.hdeploy).Seconds(); r.kind {
	case memory:
		return r.mebibytes > r.limit || r.mebibytes <= 0
	case goingBack:
		return took > r.limit || took <= 0
	case probing:
		return took > r.limit || took <= 0 || r.trips != 1
	case unchanged, changed, copying: // are compared
	}
	return !(r.ratio() <= r.limit) // not a number is a miss too
}

func (r reading) json() string {
	var value any = struct {
		Name    string  `json:"name"`
		Hdeploy float64 `json:"hdeploy_s"`
		ByHand  float64 `json:"by_hand_s"`
		Ratio   float64 `json:"ratio"`
	}{r.name, rounded(median(r.hdeploy).Seconds()), rounded(median(r.byHand).Seconds()), rounded(r.ratio())}
	if r.kind == memory {
		value = struct {
			Name    string  `json:"name"`
			Hdeploy float64 `json:"hdeploy_mib"`
		}{r.name, rounded(r.mebibytes)}
	}
	if r.kind == goingBack {
		value = struct {
			Name    string  `json:"name"`
			Hdeploy float64 `json:"hdeploy_s"`
		}{r.name, rounded(median(r.hdeploy).Seconds())}
	}
	if r.kind == probing {
		value = struct {
			Name  string  `json:"name"`
			CPU   float64 `json:"cpu_s"`
			Trips int     `json:"round_trips"`
		}{r.name, rounded(median(r.hdeploy).Seconds()), r.trips}
	}
	text, err := json.Marshal(value)
	if err != nil { // a ratio that is no number
		return fmt.Sprintf("{\"name\":%q}", r.name)
	}
	return string(text)
}

func rounded(value float64) float64 { return math.Round(value*1000) / 1000 }

// median is the middle one, or half way between the two middle ones.
func median(times []time.Duration) time.Duration {
	if len(times) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(times))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// printTable prints the readings for people, at most 80 columns wide.
func printTable(w io.Writer, readings []reading, runs int) {
	const row = "%-15s %10s %10s %9s %9s   %s\n"
	fmt.Fprintf(w, "medians of %d runs each, in turn\n\n", runs)
	fmt.Fprintf(w, row, "", "hdeploy", "by hand", "ratio", "limit", "")
	for _, r := range readings {
		verdict := "good"
		if r.missed() {
			verdict = "MISSED"
		}
		if r.kind == memory {
			fmt.Fprintf(w, row, r.name, fmt.Sprintf("%.1f MiB", r.mebibytes), "", "", fmt.Sprintf("%g MiB", r.limit), verdict)
			continue
		}
		if r.kind == goingBack || r.kind == probing {
			fmt.Fprintf(w, row, r.name, seconds(median(r.hdeploy)), "", "", fmt.Sprintf("%g s", r.limit), verdict)
			continue
		}
		fmt.Fprintf(w, row, r.name, seconds(median(r.hdeploy)), seconds(median(r.byHand)),
			fmt.Sprintf("%.2f", r.ratio()), fmt.Sprintf("%.2f", r.limit), verdict)
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f s", d.Seconds()) }
