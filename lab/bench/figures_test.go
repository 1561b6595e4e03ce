package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func milliseconds(values ...int) []time.Duration {
	times := make([]time.Duration, len(values))
	for i, v := range values {
		times[i] = time.Duration(v) * time.Millisecond
	}
	return times
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		times []time.Duration
		want  time.Duration
	}{
		{nil, 0},
		{milliseconds(7), 7 * time.Millisecond},
		{milliseconds(900, 1, 3), 3 * time.Millisecond},
		{milliseconds(4, 1, 900, 2), 3 * time.Millisecond},
	} {
		if got := median(c.times); got != c.want {
			t.Errorf("median of %v is %v, not %v", c.times, got, c.want)
		}
	}
}

func TestReadingMissesItsLimit(t *testing.T) {
	ratio := figure{name: "x", limit: 0.6}
	for _, c := range []struct {
		name string
		r    reading
		want bool
	}{
		{"below", reading{figure: ratio, hdeploy: milliseconds(50), byHand: milliseconds(100)}, false},
		{"at the limit", reading{figure: ratio, hdeploy: milliseconds(60), byHand: milliseconds(100)}, false},
		{"above", reading{figure: ratio, hdeploy: milliseconds(61), byHand: milliseconds(100)}, true},
		{"nothing measured", reading{figure: ratio}, true},
		{"little memory", reading{figure: figure{limit: 60, kind: memory}, mebibytes: 60}, false},
		{"much memory", reading{figure: figure{limit: 60, kind: memory}, mebibytes: 60.1}, true},
		{"back soon", reading{figure: figure{limit: 1, kind: goingBack}, hdeploy: milliseconds(900, 1000, 5000)}, false},
		{"back late", reading{figure: figure{limit: 1, kind: goingBack}, hdeploy: milliseconds(1001)}, true},
		{"back unseen", reading{figure: figure{limit: 1, kind: goingBack}}, true},
		{"probed cheaply", reading{figure: figure{limit: 0.15, kind: probing}, hdeploy: milliseconds(150), trips: 1}, false},
		{"probed dearly", reading{figure: figure{limit: 0.15, kind: probing}, hdeploy: milliseconds(151), trips: 1}, true},
		{"probed with questions", reading{figure: figure{limit: 0.15, kind: probing}, hdeploy: milliseconds(50), trips: 2}, true},
		{"memory not seen", reading{figure: figure{limit: 60, kind: memory}}, true},
	} {
		if got := c.r.missed(); got != c.want {
			t.Errorf("%s: missed is %v", c.name, got)
		}
	}
}

func TestJSONOfAReading(t *testing.T) {
	for _, c := range []struct {
		r    reading
		want string
	}{
		{reading{figure: figures[0], hdeploy: milliseconds(300), byHand: milliseconds(1000)},
			`{"name":"unchanged@0ms","hdeploy_s":0.3,"by_hand_s":1,"ratio":0.3}`},
		{reading{figure: figure{name: "rss", kind: memory}, mebibytes: 36.25}, `{"name":"rss","hdeploy_mib":36.25}`},
		{reading{figure: figure{name: "rollback", kind: goingBack}, hdeploy: milliseconds(412)}, `{"name":"rollback","hdeploy_s":0.412}`},
		{reading{figure: figure{name: "probes", kind: probing}, hdeploy: milliseconds(97), trips: 1}, `{"name":"probes","cpu_s":0.097,"round_trips":1}`},
		{reading{figure: figure{name: "empty"}}, `{"name":"empty"}`},
	} {
		if got := c.r.json(); got != c.want || !json.Valid([]byte(got)) {
			t.Errorf("%s instead of %s", got, c.want)
		}
	}
}

func TestTableFitsTheTerminal(t *testing.T) {
	var readings []reading
	for _, f := range figures {
		readings = append(readings, reading{figure: f, hdeploy: milliseconds(123456), byHand: milliseconds(100000), mebibytes: 1234.5})
	}
	var out strings.Builder
	printTable(&out, readings, 7)
	for line := range strings.Lines(out.String()) {
		if len(strings.TrimRight(line, "\n")) > 80 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
	for _, f := range figures {
		if !strings.Contains(out.String(), f.name) {
			t.Errorf("%s is missing:\n%s", f.name, out.String())
		}
	}
	if strings.Count(out.String(), "MISSED") != len(figures) {
		t.Errorf("not every missed limit is shown:\n%s", out.String())
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--hdeploy x --only unchanged", "unknown figure"},
		{"--hdeploy x --runs 0", "--runs 0"},
		{"--hdeploy x --timeout 0s", "--timeout"},
		{"--hdeploy x now", "unknown argument"},
		{"--runs 3", "--hdeploy is missing"},
	} {
		if _, err := parse(strings.Fields(c.args)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.args, err)
		}
	}
	o, err := parse(strings.Fields("--hdeploy x --only rss,copy-800MiB --runs 9"))
	if err != nil || len(o.only) != 2 || o.runs != 9 {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestHighWaterMarkIsOfHdeployAlone(t *testing.T) {
	for _, c := range []struct {
		status string
		want   int64
	}{
		{"Name:\thdeploy\nVmPeak:\t 1280000 kB\nVmHWM:\t   37112 kB\nVmRSS:\t   30000 kB\n", 37112},
		{"Name:\tnsenter\nVmHWM:\t   99999 kB\n", 0},
		{"Name:\thdeploy\nState:\tZ (zombie)\n", 0},
	} {
		file := filepath.Join(t.TempDir(), "status")
		if err := os.WriteFile(file, []byte(c.status), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := highWaterMark(file); got != c.want {
			t.Errorf("%q: %d, not %d", c.status, got, c.want)
		}
	}
	if got := highWaterMark("/proc/0/status"); got != 0 {
		t.Errorf("of no process: %d", got)
	}
}

func TestSwitchTimes(t *testing.T) {
	const journal = `1763906399.500000 web nixos[1]: switching to system configuration /old
1763906401.250000 web nixos[2]: switching to system configuration /old
1763906401.300000 web nixos[2]: something else
1763906402.000000 web nixos[2]: finished switching to system configuration /old
1763906403.000000 web nixos[3]: switching to system configuration /old
`
	began := time.Unix(1763906400, 0)
	switched, active, err := switchTimes(journal, "/old", began)
	if err != nil || switched.Sub(began) != 1250*time.Millisecond || active.Sub(began) != 2*time.Second {
		t.Errorf("%v, %v, %v", switched, active, err)
	}
	for _, system := range []string{"/new", "/ol"} {
		if _, _, err := switchTimes(journal, system, began); err == nil {
			t.Errorf("a switch to %s was found", system)
		}
	}
}

func TestChildrenTimes(t *testing.T) {
	if got, err := childrenTimes("said\n0m0.001000s 0m0.002000s\n0m0.030000s 0m1.005000s\n"); err != nil || got != 1035*time.Millisecond {
		t.Errorf("got %v, %v", got, err)
	}
	for _, text := range []string{"", "0m0.030000s 0m0.005000s", "a\nb", "0m0.0s 0m0.0s\n0m0.0s 0m0.0s"} {
		if got, err := childrenTimes(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestExchangeCountsRoundTrips(t *testing.T) {
	e := &exchange{in: strings.NewReader("abc"), out: nopCloser{io.Discard}}
	for _, step := range []struct {
		do   func([]byte) (int, error)
		want int64
	}{{e.Write, 1}, {e.Write, 1}, {e.Read, 1}, {e.Read, 1}, {e.Write, 2}, {e.Write, 2}} {
		if _, err := step.do(make([]byte, 1)); err != nil || e.trips.Load() != step.want {
			t.Errorf("%d, %v; want %d", e.trips.Load(), err, step.want)
		}
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
