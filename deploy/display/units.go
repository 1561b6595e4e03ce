package display

import (
	"fmt"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
)

// duration writes a time span the way a person says it: 0.4 s, 12.3 s, 4 min 05 s.
func duration(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < 100*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 100*time.Minute:
		return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
	default:
		return fmt.Sprintf("%d h %02d min", int(d.Hours()), int(d.Minutes())%60)
	}
}

// span reads the seconds of the event contract; what is no time is none.
func span(s float64) time.Duration {
	const year = 365 * 24 * 3600
	if !(s > 0) { // NaN too
		return 0
	}
	return time.Duration(min(s, year) * float64(time.Second))
}

// Seconds is a time span as a person says it, from the seconds of the event contract.
func Seconds(s float64) string { return duration(span(s)) }

// countdown writes the time left, in whole seconds: nobody reads tenths of it.
func countdown(d time.Duration) string {
	if d < 100*time.Second {
		return fmt.Sprintf("%d s", int(max(d, 0).Round(time.Second).Seconds()))
	}
	return duration(d)
}

// size writes a number of bytes in binary units.
func size(n int64) string {
	v, unit := float64(max(n, 0)), "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB", "PiB"} {
		if v < 1000 {
			break
		}
		v, unit = v/1024, next
	}
	if unit == "B" {
		return fmt.Sprintf("%.0f B", v)
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}

// amount says how far a phase is, without what runs now.
func amount(p event.Progress) string {
	var parts []string
	switch {
	case p.Unit == "bytes" && p.Total > 0:
		parts = append(parts, size(p.Done)+" of "+size(p.Total))
	case p.Unit == "bytes":
		parts = append(parts, size(p.Done))
	case p.Total > 0:
		parts = append(parts, fmt.Sprintf("%d of %d %s", p.Done, p.Total, Clean(p.Unit)))
	case p.Done > 0:
		parts = append(parts, fmt.Sprintf("%d %s", p.Done, Clean(p.Unit)))
	}
	switch {
	case p.PathsTotal > 0:
		parts = append(parts, fmt.Sprintf("%d of %d paths", p.Paths, p.PathsTotal))
	case p.Paths > 0:
		parts = append(parts, fmt.Sprintf("%d paths", p.Paths))
	}
	return strings.Join(parts, ", ")
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
