package probe

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestVerdictsAndPolicies(t *testing.T) {
	for _, c := range []struct {
		verdict, policy    string
		rollback, degraded bool
	}{
		{Pass, Rollback, false, false},
		{Pass, Alert, false, false},
		{Fail, Rollback, true, false},
		{Fail, Alert, false, true},
		{Unknown, Rollback, true, false},
		{Unknown, Alert, false, true},
		{"", Alert, false, true},
		{"", "", true, false},
		{"passed", Rollback, true, false},
		{Fail, "ignore", true, false},
		{Pass, "", false, false},
	} {
		// A pass beside it changes nothing.
		results := []Result{{Verdict: Pass, Policy: Rollback}, {Verdict: c.verdict, Policy: c.policy}}
		if got := MustRollBack(results); got != c.rollback {
			t.Errorf("%q/%q: MustRollBack is %t", c.verdict, c.policy, got)
		}
		if got := Degraded(results); got != c.degraded {
			t.Errorf("%q/%q: Degraded is %t", c.verdict, c.policy, got)
		}
	}
	if MustRollBack(nil) || Degraded(nil) {
		t.Error("no results forbid something")
	}
	both := []Result{{Verdict: Fail, Policy: Alert}, {Verdict: Fail, Policy: Rollback}}
	if !MustRollBack(both) || Degraded(both) {
		t.Error("a rollback beside an alert is a rollback")
	}
}

func TestPolicyOfAResult(t *testing.T) {
	s := Spec{OnFail: Rollback, OnUnknown: Rollback}
	for _, c := range []struct {
		f    finding
		want string
	}{
		{fail("x", "", ""), Rollback},
		{unknown("x", "", ""), Rollback},
		{unknown(ClassFailedBefore, "", ""), Alert},
	} {
		if got := c.f.result(s).Policy; got != c.want {
			t.Errorf("%+v: %s", c.f, got)
		}
	}
	s.OnUnknown = Alert
	if got := unknown("x", "", "").result(s).Policy; got != Alert {
		t.Errorf("unknown: %s", got)
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                   "plain",
		"a\nb\tc":                 "a b c",
		"\x1b[31mred\x1b[0m\x07":  "[31mred[0m",
		"bad \xff byte":           "bad ? byte",
		"right\u202eto left":      "rightto left",
		"zero\u200bwidth\u2028 x": "zerowidth  x",
		"  trimmed \r\n":          "trimmed",
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\x1b[0m")
	f.Add(strings.Repeat("ü\xff", 4000))
	f.Fuzz(func(t *testing.T, in string) {
		got := clean(in)
		if n := utf8.RuneCountInString(got); n > longestText {
			t.Errorf("%d runes", n)
		}
		if strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q", got)
		}
	})
}
