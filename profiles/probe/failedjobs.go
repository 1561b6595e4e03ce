package probe

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/profiles/systemd"
)

// FailedJobsSpec asks that no job of systemd hangs: one that was queued since the
// baseline, and whose unit does not get on.
type FailedJobsSpec struct {
	// OlderThan is for how long a unit may be in the same state while a job of it is
	// queued.
	OlderThan time.Duration `json:"older_than,omitempty"`
	// Ignore names units whose jobs may wait as long as they like.
	Ignore []string `json:"ignore,omitempty"`
}

func failedJobsKind() kind {
	return kind{
		About: About{
			Kind: KindFailedJobs, Preset: true, Vantages: []string{FromHost}, Text: "no job of systemd hangs that was not queued before",
			Params: []Param{
				{Name: "older_than", Type: Duration, Default: `"10s"`, Text: "for how long a unit may stay in the same state while a job of it is queued"},
				{Name: "ignore", Type: Texts, Text: "units whose jobs may wait"},
			},
		},
		question: func() Question { return &FailedJobsSpec{OlderThan: 10 * time.Second} },
		defaults: func(s *Spec) { s.OnUnknown = Rollback },
	}
}

func (j *FailedJobsSpec) validate() error {
	if j.OlderThan < 0 || j.OlderThan > longestWindow {
		return fmt.Errorf("older_than must be from 0s to %s, not %s", longestWindow, j.OlderThan)
	}
	for _, name := range j.Ignore {
		if err := ValidUnit(name); err != nil {
			return err
		}
	}
	return nil
}

func (*FailedJobsSpec) units() []string { return nil }

func (j *FailedJobsSpec) try(ctx context.Context, a attempt) finding {
	const expected = "no job hangs that was not queued before"
	jobs, err := a.host.Systemd.Jobs(ctx)
	if err != nil {
		return silent(expected, err)
	}
	old, jobs := j.sort(jobs, a.host.Baseline)
	units := map[string]systemd.Unit{}
	if len(jobs) > 0 {
		if units, err = a.host.Systemd.Show(ctx, ofJobs(jobs)...); err != nil {
			return silent(expected, err)
		}
	}
	var hung []systemd.Job
	now := monotonic()
	for _, job := range jobs {
		u, _ := named(units, job.Unit)
		// A oneshot that a timer started is at work; whoever waits for it hangs.
		atWork := job.State == "running" && len(u.TriggeredBy) > 0
		if !atWork && age(now, u.StateChange) >= j.OlderThan {
			hung = append(hung, job)
		}
	}
	if len(hung) == 0 {
		f := pass(expected, fmt.Sprintf("%d jobs are queued, and get on", len(jobs)))
		if len(old) > 0 {
			f.evidence = "queued before: " + jobNames(old)
		}
		return f
	}
	f := fail("hung", expected, jobNames(hung)).try("systemctl list-jobs --after --before")
	f.units = ofJobs(hung)
	if i := slices.IndexFunc(hung, func(job systemd.Job) bool { return job.State == "running" }); i >= 0 {
		u, _ := named(units, hung[i].Unit)
		f.evidence = a.lastWords(ctx, u)
	}
	return f
}

// sort tells the jobs that were queued before from those that count.
func (j *FailedJobsSpec) sort(jobs []systemd.Job, b *Baseline) (old, counting []systemd.Job) {
	for _, job := range jobs {
		switch {
		case slices.Contains(j.Ignore, job.Unit) || isOwn(job.Unit):
		case b != nil && slices.Contains(b.Jobs, job.ID):
			old = append(old, job)
		default:
			counting = append(counting, job)
		}
	}
	return old, counting
}

func ofJobs(jobs []systemd.Job) []string {
	var units []string
	for _, job := range jobs {
		units = append(units, job.Unit)
	}
	return units
}

func jobNames(jobs []systemd.Job) string {
	var text []string
	for _, job := range jobs {
		text = append(text, fmt.Sprintf("%s %s %s", job.Unit, job.Type, job.State))
	}
	return strings.Join(text, "; ")
}
