package deploy

import (
	"strings"

	"github.com/hbohlen/hdeploy/profiles/protocol"
)

// plainFacts refuses a host whose answers could not stand in a command. People are told
// commands to type with a host's paths and transactions in them, and a host that was
// taken over must not run anything at the deployer by that.
func (h *hostRun) plainFacts(f protocol.Facts) error {
	words := []string{f.Running, f.Profile.Path, f.Profile.Link, f.Boots.System, f.System}
	if f.Transaction != nil {
		words = append(words, transactionWords(*f.Transaction)...)
	}
	return h.plain(words...)
}

func transactionWords(t protocol.Status) []string {
	return []string{t.ID, t.New, t.Previous, t.Running, t.Boots, t.Before.Running, t.Before.Profile.Path, t.Before.Profile.Link, t.Before.Boots}
}

// plain refuses words that are more than one word to a shell, or an option.
func (h *hostRun) plain(words ...string) error {
	for _, word := range words {
		if strings.HasPrefix(word, "-") || strings.IndexFunc(word, meansMore) >= 0 {
			return refused(h.Name, "look", "look at the host from another machine: its agent, or what poses as it, does not tell the truth",
				"the host answers with %q, which is neither a path nor the id of a transaction", capped(word))
		}
	}
	return nil
}

// meansMore says that a rune is in no store path, generation or id.
func meansMore(r rune) bool {
	letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
	return !letter && !strings.ContainsRune("/+-._?=@:", r)
}
