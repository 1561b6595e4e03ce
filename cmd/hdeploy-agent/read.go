package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/nixos"
	"github.com/hbohlen/hdeploy/profiles/protocol"
	"github.com/hbohlen/hdeploy/profiles/transaction"
)

const (
	// lookLimit bounds what asks PID 1, which may not answer.
	lookLimit = 20 * time.Second
	// unitsTold caps a list of failed units, generationsTold one of generations.
	unitsTold       = 100
	generationsTold = 1000
	// freezeText caps owner and message of a freeze, in bytes.
	freezeText = 500
)

// read answers the methods that change nothing, but for a person's freeze.
func (a agent) read(ctx context.Context, method string, params json.RawMessage, emit func(any) error) (any, error) {
	switch method {
	case protocol.MethodLook:
		return decoded(params, func(p protocol.FactsRequest) (any, error) { return a.look(ctx, p) })
	case protocol.MethodGenerations:
		return decoded(params, func(p protocol.GenerationsRequest) (any, error) { return a.generations(p) })
	case protocol.MethodHistory:
		return decoded(params, func(p protocol.HistoryRequest) (any, error) { return a.history(p, emit) })
	case protocol.MethodActivationLog:
		return decoded(params, func(p protocol.ActivationLogRequest) (any, error) { return a.activationLog(p) })
	case protocol.MethodJournal:
		return decoded(params, func(p protocol.JournalRequest) (any, error) { return a.journal(ctx, p) })
	case protocol.MethodRecorded:
		return a.recorded()
	case protocol.MethodCheck:
		return decoded(params, func(p protocol.CheckRequest) (any, error) { return a.check(ctx, p) })
	case protocol.MethodTasks:
		return decoded(params, func(p protocol.TasksRequest) (any, error) { return a.tasks(ctx, p) })
	case protocol.MethodFreeze:
		return decoded(params, func(p protocol.FreezeRequest) (any, error) { return a.freeze(ctx, p) })
	case protocol.MethodUnfreeze:
		return decoded(params, func(p protocol.FreezeRequest) (any, error) { return a.unfreeze(ctx, p) })
	}
	return nil, refuse("this agent does not know %q", method)
}

// readable refuses where the host's record cannot be read: an empty history would
// be a lie.
func (a agent) readable() error {
	if err := a.engine.Store.Open(); err != nil {
		return refuse("%v", err)
	}
	if _, err := os.ReadDir(a.engine.Store.Dir); err != nil {
		return refuse("read state: %v", err)
	}
	return nil
}

func (a agent) look(ctx context.Context, p protocol.FactsRequest) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	p.LookOnly = true
	facts, err := a.facts(ctx, p)
	if err != nil {
		return nil, err
	}
	result := protocol.LookResult{Facts: facts, NeedsReboot: nixos.NeedsReboot(facts.Kernel, facts.Running)}
	if last, err := a.engine.Store.Load(); err == nil && last != nil && !last.State.Final() {
		result.Stale = a.engine.Stale(ctx, *last)
	}
	failed, err := nixos.FailedUnits(ctx)
	if err != nil {
		result.UnitsError = printable(err.Error())
	}
	slices.Sort(failed)
	result.FailedUnits = failed[:min(len(failed), unitsTold)]
	return result, nil
}

func (a agent) generations(p protocol.GenerationsRequest) (any, error) {
	if p.Profile != profiles.System {
		return nil, refuse("not the system profile: %q", p.Profile)
	}
	if err := a.readable(); err != nil {
		return nil, err
	}
	list, err := profiles.List(p.Profile)
	if err != nil {
		return nil, err
	}
	history := a.engine.Store.History()
	running, current, _ := a.engine.Host.Look(p.Profile)
	boots, _ := a.engine.Host.Boots()
	marks := marking{history: history, current: current, running: running, boots: boots, good: transaction.LastKnownGood(history)}
	return protocol.GenerationsResult{Generations: marks.all(list[:min(len(list), generationsTold)])}, nil
}

// marking says of generations what the host knows beside their links.
type marking struct {
	history              []transaction.Record
	current              profiles.Generation
	running, boots, good string
}

// all describes the generations, newest first. Of several with one system the one
// that the profile points at, or else the newest, stands for it.
func (m marking) all(list []profiles.Dated) []protocol.Generation {
	told := make([]protocol.Generation, 0, len(list)+1)
	for _, g := range list {
		one := m.describe(g.Path)
		one.Number, one.Date, one.Current = g.Number, g.Date, g.Link == m.current.Link
		told = append(told, one)
	}
	for _, mark := range []struct {
		system string
		set    func(*protocol.Generation)
	}{
		{m.running, func(g *protocol.Generation) { g.Running = true }},
		{m.boots, func(g *protocol.Generation) { g.Boots = true }},
		{m.good, func(g *protocol.Generation) { g.LastKnownGood = true }},
	} {
		if mark.system == "" {
			continue
		}
		at := slices.IndexFunc(told, func(g protocol.Generation) bool { return g.Path == mark.system && g.Current })
		if at < 0 {
			at = slices.IndexFunc(told, func(g protocol.Generation) bool { return g.Path == mark.system })
		}
		if at < 0 {
			at = len(told)
			told = append(told, m.describe(mark.system))
		}
		mark.set(&told[at])
	}
	return told
}

func (m marking) describe(system string) protocol.Generation {
	g := protocol.Generation{Path: system, Verdict: transaction.VerdictOn(m.history, system)}
	g.Version, g.Kernel = nixos.Describe(system)
	g.Version, g.Kernel = printable(g.Version), printable(g.Kernel)
	if by := transaction.Deployment(m.history, system); by != nil {
		g.Deployer, g.Revision, g.Dirty, g.Transaction = by.Deployer, by.Revision, by.Dirty, by.ID
	}
	return g
}

// remembered are the transactions of this host, newest first, with the one that
// runs.
func (a agent) remembered() []transaction.Record {
	history := a.engine.Store.History()
	if now, err := a.engine.Store.Load(); err == nil && now != nil && !now.State.Final() {
		history = append([]transaction.Record{*now}, history...)
	}
	return history
}

// history sends each transaction as an event of its own: together they may be more
// than a message holds.
func (a agent) history(p protocol.HistoryRequest, emit func(any) error) (any, error) {
	if err := a.readable(); err != nil {
		return nil, err
	}
	all := a.remembered()
	for _, r := range all[:min(len(all), max(p.Limit, 1))] {
		if err := emit(a.past(r)); err != nil {
			return nil, err
		}
	}
	return protocol.HistoryResult{Remembered: len(all)}, nil
}

// past is the status of a transaction without what is true only now.
func (a agent) past(r transaction.Record) *protocol.Status {
	s := a.status(r)
	if r.State.Final() {
		s.Running = ""
	}
	return s
}

func (a agent) activationLog(p protocol.ActivationLogRequest) (any, error) {
	if p.ID != "" && !transaction.ValidID(p.ID) {
		return nil, refuse("not a transaction id: %q", p.ID)
	}
	if err := a.readable(); err != nil {
		return nil, err
	}
	all := a.remembered()
	at := slices.IndexFunc(all, func(r transaction.Record) bool {
		return p.ID == "" && p.Number == 0 || p.ID != "" && r.ID == p.ID || p.Number != 0 && r.Number == p.Number
	})
	switch {
	case len(all) == 0:
		return nil, refuse("the host remembers no transaction")
	case at < 0 && p.ID != "":
		return nil, refuse("the host does not remember a transaction %s", p.ID)
	case at < 0:
		return nil, refuse("the host does not remember a transaction number %d", p.Number)
	}
	r := all[at]
	text, cut, err := a.engine.Store.Log(r.ID)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, refuse("no log of transaction %s is kept: it switched nothing, the host restarted before its end, or it is too long ago", r.ID)
	}
	if err != nil {
		return nil, err
	}
	result := protocol.ActivationLogResult{Status: *a.past(r), Cut: cut}
	for line := range strings.Lines(string(text)) {
		result.Lines = append(result.Lines, printable(strings.TrimSuffix(line, "\n")))
	}
	return result, nil
}

func (a agent) journal(ctx context.Context, p protocol.JournalRequest) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	if a.engine.Journal == nil {
		return protocol.JournalResult{}, nil
	}
	return protocol.JournalResult{Journal: a.engine.Journal(ctx, p.Units[:min(len(p.Units), transaction.JournalUnits)])}, nil
}

func (a agent) freeze(ctx context.Context, p protocol.FreezeRequest) (any, error) {
	f := transaction.Freeze{Owner: printable(p.Owner), Message: printable(p.Message), Since: a.engine.Clock.Wall()}
	if f.Owner == "" || f.Message == "" || len(p.Owner) > freezeText || len(p.Message) > freezeText {
		return nil, refuse("a freeze needs an owner and a message of at most %d bytes", freezeText)
	}
	if err := a.readable(); err != nil {
		return nil, err
	}
	if err := a.engine.Store.Freeze(ctx, f); err != nil {
		return nil, frozenBy(err)
	}
	return protocol.FreezeResult{Freeze: &f, Transaction: a.underWay()}, nil
}

func (a agent) unfreeze(ctx context.Context, p protocol.FreezeRequest) (any, error) {
	if err := a.readable(); err != nil {
		return nil, err
	}
	was, err := a.engine.Store.Unfreeze(ctx, cmp.Or(printable(p.Owner), "nobody"), p.Force)
	if err != nil {
		return nil, frozenBy(err)
	}
	return protocol.FreezeResult{Freeze: was, Transaction: a.underWay()}, nil
}

// underWay is a transaction that is not over, nil where there is none.
func (a agent) underWay() *protocol.Status {
	now, err := a.engine.Store.Load()
	if err != nil || now == nil || now.State.Final() {
		return nil
	}
	return a.status(*now)
}

func frozenBy(err error) error {
	var frozen *transaction.FrozenError
	if errors.As(err, &frozen) {
		return &protocol.Error{Code: protocol.CodeFrozen, Message: err.Error()}
	}
	return refuse("%v", err)
}
