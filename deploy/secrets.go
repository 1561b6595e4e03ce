package deploy

import (
	"context"

	"github.com/hbohlen/hdeploy/hosts/remote"
)

// Ask asks a person one question and returns the answer, which is a secret. Its
// error says why there is no answer. It may be called from several goroutines.
type Ask func(ctx context.Context, question string) (string, error)

// Secrets are what a person is asked for in one run, and remembered until its end.
type Secrets struct {
	// Keys opens private keys that are protected by a passphrase.
	Keys *remote.Passphrases
	// Sealed logs in with what is in memory alone; nil where the user's ssh decides.
	Sealed *Sealed
	// passwords are those of the accounts that become root with one.
	passwords *passwords
}

// NewSecrets returns the secrets of one run, none of them asked for yet. Where passphrase
// is nil, keys that are protected are not used.
func NewSecrets(passphrase, password Ask) *Secrets {
	return &Secrets{Keys: remote.NewPassphrases(passphrase), passwords: newPasswords(password)}
}

// keys is nil where nobody can be asked.
func (s *Secrets) keys() *remote.Passphrases {
	if s == nil {
		return nil
	}
	return s.Keys
}
