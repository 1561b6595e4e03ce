package nix

import "github.com/hbohlen/hdeploy/deploy/event"

// recorder keeps all progress of a call.
type recorder struct{ all []Progress }

func (r *recorder) add(p Progress) { r.all = append(r.all, p) }

func (r *recorder) last() event.Progress {
	for i := len(r.all) - 1; i >= 0; i-- {
		if r.all[i].Count != nil {
			return *r.all[i].Count
		}
	}
	return event.Progress{}
}

func (r *recorder) lines() []string {
	var lines []string
	for _, p := range r.all {
		if p.Line != nil {
			lines = append(lines, p.Line.Source+": "+p.Line.Text)
		}
	}
	return lines
}

func (r *recorder) notes() []string {
	var notes []string
	for _, p := range r.all {
		if p.Note != nil {
			notes = append(notes, p.Note.Level+": "+p.Note.Text)
		}
	}
	return notes
}
