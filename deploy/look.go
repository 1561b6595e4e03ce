package deploy

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/hbohlen/hdeploy/deploy/agent"
	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/profiles"
	"github.com/hbohlen/hdeploy/profiles/protocol"
)

const (
	// askLimit bounds one question to a host, with an upload of the agent in it.
	askLimit = 6 * time.Minute
	// listTold caps a list that a host tells.
	listTold = 2000
)

// Question is asked of a host without changing it.
type Question struct {
	Host    hosts.Host
	Secrets *Secrets
	Log     zerolog.Logger
}

// ask connects, makes the one call and hangs up. Its error is a [*Failure].
func (q Question) ask(ctx context.Context, first agent.First) error {
	h := newHostRun(&run{Request: Request{Log: q.Log, Secrets: q.Secrets}}, q.Host)
	limited, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	conn, a, err := h.connect(limited, first)
	if err == nil {
		a.Close()
		conn.Close()
		return nil
	}
	q.Log.Info().Str("host", q.Host.Name).Err(err).Msg("the host did not answer the question")
	if ctx.Err() != nil {
		return &Failure{Host: q.Host.Name, Step: "ask", Cause: errors.New("stopped; nothing was changed"), Word: Interrupted, Code: CodeInterrupted}
	}
	var said *protocol.Error
	if errors.As(err, &said) {
		return h.toldNo(said)
	}
	return h.connectionFailure("connect", err)
}

// toldNo is the host's own refusal of a question.
func (h *hostRun) toldNo(said *protocol.Error) error {
	if said.Code == protocol.CodeFrozen {
		return refused(h.Name, "freeze", "hdeploy unlock --force "+h.Name, "%s", said.Message)
	}
	if said.Code == protocol.CodeRefused {
		return refused(h.Name, "look", "hdeploy history "+h.Name, "%s", said.Message)
	}
	return refused(h.Name, "look", h.ssh("journalctl -u 'hdeploy-*'"), "%s", said.Message)
}

// each asks several hosts at the same time, ten at most.
func each[T any](selected []hosts.Host, one func(hosts.Host) T) []T {
	answers := make([]T, len(selected))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, h := range selected {
		group.Go(func() error { answers[i] = one(h); return nil })
	}
	_ = group.Wait() // the answers keep their own failures
	return answers
}

// Generations lists the generations of a host's system profile, newest first.
func Generations(ctx context.Context, q Question) ([]protocol.Generation, error) {
	var result protocol.GenerationsResult
	err := q.ask(ctx, agent.Ask(protocol.MethodGenerations, protocol.GenerationsRequest{Profile: profiles.System}, &result, nil))
	list := result.Generations[:min(len(result.Generations), listTold)]
	for i := range list {
		g := &list[i]
		for _, text := range []*string{&g.Path, &g.Version, &g.Kernel, &g.Deployer, &g.Revision, &g.Transaction, (*string)(&g.Verdict)} {
			*text = capped(*text)
		}
	}
	return list, err
}

// Freeze is a person's wish that nothing changes a host.
type Freeze struct {
	Owner   string    `json:"owner"`
	Message string    `json:"message"`
	Since   time.Time `json:"since"`
}

// Locked is what a lock or an unlock came to.
type Locked struct {
	Host string
	// Freeze is the one that holds or has ended; nil where there was none.
	Freeze *Freeze
	// Running is a transaction that is not over, which neither stops.
	Running *Transaction
	// Err is a [*Failure]: the host is as it was.
	Err error
}

// Freezing asks for a freeze by Owner, or for its end.
type Freezing struct {
	Hosts          []hosts.Host
	Owner, Message string
	// Force ends also somebody else's.
	Force   bool
	Secrets *Secrets
	Log     zerolog.Logger
}

// Lock freezes the hosts.
func Lock(ctx context.Context, f Freezing) []Locked { return f.say(ctx, protocol.MethodFreeze) }

// Unlock ends the freezes of the hosts.
func Unlock(ctx context.Context, f Freezing) []Locked { return f.say(ctx, protocol.MethodUnfreeze) }

func (f Freezing) say(ctx context.Context, method string) []Locked {
	return each(f.Hosts, func(h hosts.Host) Locked {
		var result protocol.FreezeResult
		request := protocol.FreezeRequest{Owner: f.Owner, Message: f.Message, Force: f.Force}
		l := Locked{Host: h.Name, Err: Question{Host: h, Secrets: f.Secrets, Log: f.Log}.ask(ctx, agent.Ask(method, request, &result, nil))}
		l.Freeze = freezeOf(result.Freeze)
		if result.Transaction != nil {
			running := transactionOf(*result.Transaction)
			l.Running = &running
		}
		return l
	})
}

// CodeOf is the exit code that an error of one host leads to.
func CodeOf(err error) int {
	var f *Failure
	switch {
	case err == nil:
		return CodeOK
	case errors.As(err, &f):
		return f.Code
	}
	return CodeInternal
}

// sorted returns capped texts of a host in order.
func sorted(texts []string) []string {
	var told []string
	for _, text := range texts[:min(len(texts), listTold)] {
		told = append(told, capped(text))
	}
	slices.Sort(told)
	return told
}
