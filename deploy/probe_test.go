package deploy

import (
	"errors"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles/probe"
)

func TestRecordedProbesAreChosenByName(t *testing.T) {
	for _, c := range []struct {
		name   string
		wanted []string
		is     bool
	}{
		{"site", nil, true}, {"site", []string{"a", "site"}, true}, {"site two", []string{"site"}, true},
		{"site2", []string{"site"}, false}, {"site", []string{"site two"}, false},
	} {
		if named(c.name, c.wanted) != c.is {
			t.Errorf("%q among %q: not %v", c.name, c.wanted, c.is)
		}
	}
}

// What a watch tells is what changed.
func TestRoundTellsWhatIsNew(t *testing.T) {
	var told []string
	progress := 0
	r := &run{Request: Request{Events: func(e event.Event) {
		switch {
		case e.Probe != nil:
			told = append(told, e.Probe.Name+" "+e.Probe.Verdict)
		case e.Progress != nil:
			progress++
		}
	}}}
	h := newHostRun(r, hosts.NewHost("web1"))
	pass, broken := probe.Result{Name: "a", Verdict: probe.Pass}, probe.Result{Name: "a", Verdict: probe.Fail, Class: "state"}
	worse := probe.Result{Name: "a", Verdict: probe.Fail, Class: "gone", Seconds: 3}
	var before []probe.Result
	for _, now := range []probe.Result{pass, pass, broken, broken, worse, pass} {
		round := telling{h: h, before: before, total: 1}
		round.tell(now)
		before = []probe.Result{now}
	}
	if want := []string{"a pass", "a fail", "a fail", "a pass"}; len(told) != len(want) || told[1] != want[1] || told[3] != want[3] {
		t.Errorf("told were %q", told)
	}
	if progress != 1 {
		t.Errorf("%d times progress, which only the first round has", progress)
	}
}

func TestProbesAtRestAreTriedOnce(t *testing.T) {
	r := &run{Request: Request{}}
	s := probe.Defaults(probe.KindNoNewFailedUnits)
	for _, patient := range []bool{false, true} {
		h := newHostRun(r, hosts.NewHost("web1"))
		h.Probes = []hosts.Probe{{Name: s.Name, Kind: s.Kind, From: s.From, OnFail: s.OnFail}}
		specs, err := h.specsAtRest(t.Context(), ProbeRequest{Patient: patient}, nil)
		if err != nil || len(specs) != 1 || specs[0].Settle != 0 || specs[0].Soak != 0 || specs[0].Validate() != nil {
			t.Fatalf("%+v, %v", specs, err)
		}
		if once := specs[0].Interval == specs[0].Deadline && specs[0].Passes == 1; once == patient {
			t.Errorf("patient is %v, and the spec %+v", patient, specs[0])
		}
	}
}

func TestWatchTellsWhenTheHostIsLostAndFound(t *testing.T) {
	var notes []string
	r := &run{Request: Request{Events: func(e event.Event) { notes = append(notes, e.Note.Text) }}}
	h := newHostRun(r, hosts.NewHost("web1"))
	gone := errors.New("no route")
	for _, step := range [][2]error{{nil, nil}, {nil, gone}, {gone, gone}, {gone, nil}, {nil, nil}} {
		h.tellLost(step[0], step[1])
	}
	if len(notes) != 2 || notes[0] != "no route; trying again" || notes[1] != "the host answers again" {
		t.Errorf("told were %q", notes)
	}
}

func TestPauseEndsWithTheWatch(t *testing.T) {
	if !pause(t.Context(), time.Millisecond) {
		t.Error("a pause that was not interrupted")
	}
}
