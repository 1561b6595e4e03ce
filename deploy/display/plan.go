package display

import (
	"fmt"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
)

// PlanLines tells in words what a rollback is about to do.
func PlanLines(p event.Plan) []string {
	lines := []string{"leaves  " + system(p.FromGeneration, p.From)}
	if p.Aborts != "" {
		lines = []string{
			fmt.Sprintf("stops   the deployment %s by %s", Clean(p.Aborts), Clean(p.AbortsOf)),
			"leaves  " + system(0, p.From),
		}
	}
	lines = append(lines, "goes to "+system(p.Generation, p.To)+version(p), "        "+proof(p))
	for _, s := range p.Skipped {
		lines = append(lines, "not to  "+system(s.Generation, s.System)+": "+oneLine(s.Why))
	}
	if p.RebootNeeded {
		lines = append(lines, "        its kernel is another one: that runs after a reboot")
	}
	if p.Rejects != "" {
		lines = append(lines, "        what it leaves is then refused to deployments that no person watches")
	}
	return lines
}

func system(generation int, path string) string {
	if generation == 0 {
		return Clean(path)
	}
	return fmt.Sprintf("generation %d, %s", generation, Clean(path))
}

func version(p event.Plan) string {
	if p.Version == "" {
		return ""
	}
	return " (" + Clean(p.Version) + ")"
}

func proof(p event.Plan) string {
	switch {
	case p.Verdict == "confirmed" && !p.ConfirmedAt.IsZero():
		return fmt.Sprintf("confirmed healthy %s, deployed by %s", p.ConfirmedAt.Local().Format(time.DateTime), Clean(p.ConfirmedBy))
	case p.Verdict == "previous":
		return "which ran before that deployment"
	case p.Verdict == "unproven":
		return "unproven: no deployment of it is remembered as healthy"
	}
	return Clean(p.Verdict)
}
