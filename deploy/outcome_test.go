package deploy

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/hbohlen/hdeploy/deploy/event"
	"github.com/hbohlen/hdeploy/hosts"
)

func TestWorst(t *testing.T) {
	// From the worst to the best; the order is documented.
	order := []int{CodeLookNow, CodeInternal, CodeRolledBack, CodeInterrupted, CodeCopy, CodeBuild,
		CodeUnreachable, CodeRefused, CodeProbes, CodeDegraded, CodeUsage, CodeOK}
	for i, worse := range order {
		for _, better := range order[i:] {
			if got := Worst(better, worse); got != worse {
				t.Errorf("of %d and %d the worst is %d, got %d", worse, better, worse, got)
			}
			if got := Worst(worse, better); got != worse {
				t.Errorf("of %d and %d the worst is %d, got %d", better, worse, worse, got)
			}
		}
	}
	shuffled := slices.Clone(order)
	slices.Reverse(shuffled)
	if got := Worst(shuffled...); got != CodeLookNow {
		t.Errorf("of all: %d", got)
	}
}

func TestWorstOfNothingAndOfTheUnknown(t *testing.T) {
	for _, c := range []struct {
		codes []int
		want  int
	}{
		{nil, CodeOK},
		{[]int{CodeOK, CodeOK}, CodeOK},
		{[]int{42}, CodeInternal},
		{[]int{-1, CodeRolledBack}, CodeInternal},
		{[]int{42, CodeLookNow}, CodeLookNow},
	} {
		if got := Worst(c.codes...); got != c.want {
			t.Errorf("%v: %d", c.codes, got)
		}
	}
}

func TestExitCodesAreDistinctAndAllOrdered(t *testing.T) {
	if len(worstFirst) != 12 {
		t.Errorf("%d codes have a place in the order", len(worstFirst))
	}
	for code := range 12 {
		if !slices.Contains(worstFirst, code) {
			t.Errorf("%d has no place in the order", code)
		}
	}
}

func TestTheReportsCodeIsThatOfTheWorstHost(t *testing.T) {
	report := Report{Outcomes: []HostOutcome{
		{Host: "a", Outcome: event.Outcome{Code: CodeOK}},
		{Host: "b", Outcome: event.Outcome{Code: CodeRolledBack}},
		{Host: "c", Outcome: event.Outcome{Code: CodeUnreachable}},
	}}
	if got := report.Code(); got != CodeRolledBack {
		t.Errorf("got %d", got)
	}
	if got := (Report{}).Code(); got != CodeOK {
		t.Errorf("without hosts: %d", got)
	}
}

func TestAsFailure(t *testing.T) {
	own := refused("web1", "space", "ssh web1", "%s is full", "/boot")
	if got := asFailure("other", "other", fmt.Errorf("wrapped: %w", own)); got != own {
		t.Errorf("a failure that was named is renamed: %+v", got)
	}
	got := asFailure("web1", "judge", io.ErrUnexpectedEOF)
	if got.Host != "web1" || got.Step != "judge" || got.Word != Failed || got.Code != CodeInternal || got.Next == "" || !errors.Is(got, io.ErrUnexpectedEOF) {
		t.Errorf("got %+v", got)
	}
}

func TestAFailureNamesHostStepCauseAndNext(t *testing.T) {
	f := refused("web1", "space", "ssh web1 df", "%s is full", "/boot")
	f.Log = []string{"a"}
	if got := f.Error(); got != "web1: space: /boot is full" {
		t.Errorf("got %q", got)
	}
	if f.Word != Refused || f.Code != CodeRefused {
		t.Errorf("got %+v", f)
	}
	if e := f.event(); e.Host != "web1" || e.Step != "space" || e.Cause != "/boot is full" || e.Next != "ssh web1 df" || len(e.Log) != 1 {
		t.Errorf("event %+v", e)
	}
}

func TestTheFirstFailureStays(t *testing.T) {
	h := newHostRun(&run{}, hosts.Host{Name: "web1"})
	h.fail(nil)
	if h.failure != nil {
		t.Errorf("no failure became %v", h.failure)
	}
	h.fail(refused("web1", "first", "", "cause"))
	h.fail(io.EOF)
	if h.failure.Step != "first" {
		t.Errorf("got %v", h.failure)
	}
}
