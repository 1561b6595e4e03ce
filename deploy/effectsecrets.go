package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/hbohlen/hdeploy/hosts/remote"
)

// SecretsVariable names the file in which Hercules CI hands an effect its secrets.
const SecretsVariable = "HERCULES_CI_SECRETS_JSON"

// EffectSecret is what one secret of an effect says of how to log in. It prints nothing
// of itself.
type EffectSecret struct {
	// Sealed is the key, and the known hosts where the secret has any.
	Sealed Sealed
	// sudoPassword makes the login user root, where deploy.toml asks for a password.
	sudoPassword string
}

// String keeps a secret out of messages.
func (EffectSecret) String() string { return "a secret" }

// GoString keeps it out of others.
func (s EffectSecret) GoString() string { return s.String() }

// Secrets are those of a run that asks nobody.
func (s EffectSecret) Secrets(name string) *Secrets {
	secrets := NewSecrets(nil, func(context.Context, string) (string, error) {
		if s.sudoPassword == "" {
			return "", fmt.Errorf("deploy.toml says elevation_password = \"ask\", and nobody is asked in an effect: secret %s has no data.sudoPassword", name)
		}
		return s.sudoPassword, nil
	})
	secrets.Sealed = &s.Sealed
	return secrets
}

const (
	// mostSecretsBytes caps the secrets of one effect.
	mostSecretsBytes = 4 << 20
	// secretsTold is how many names a message lists.
	secretsTold = 12
)

// ReadEffectSecret reads a secret from the file that Hercules CI hands to an effect. No
// error has anything of a secret in it but its name.
func ReadEffectSecret(path, name string) (EffectSecret, error) {
	data, err := readSmall(path, mostSecretsBytes)
	if err != nil {
		return EffectSecret{}, err
	}
	return ParseEffectSecret(data, name)
}

// ParseEffectSecret reads {"NAME":{"kind":"Secret","data":{...}}}, the format of
// Hercules CI. Of the data these are read: privateKey, publicKey, passphrase, knownHosts
// and sudoPassword, each a text; others may belong to others.
func ParseEffectSecret(data []byte, name string) (EffectSecret, error) {
	var secrets map[string]json.RawMessage
	if err := json.Unmarshal(data, &secrets); err != nil || secrets == nil {
		return EffectSecret{}, errors.New("it is not JSON of the form {\"NAME\":{\"kind\":\"Secret\",\"data\":{...}}}") // the library's error may quote a secret
	}
	entry, found := secrets[name]
	if !found {
		return EffectSecret{}, fmt.Errorf("there is no secret %q, only %s", name, namesTold(secrets))
	}
	var secret struct {
		Kind string                     `json:"kind"`
		Data map[string]json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(entry, &secret); err != nil {
		return EffectSecret{}, fmt.Errorf("secret %s is not of the form {\"kind\":\"Secret\",\"data\":{...}}", name)
	}
	if secret.Kind != "" && secret.Kind != "Secret" {
		return EffectSecret{}, fmt.Errorf("secret %s is a %s, which is no key to log in with", name, plainWord(secret.Kind))
	}
	return fields{name, secret.Data}.read()
}

// fields are the data of one secret.
type fields struct {
	secret string
	data   map[string]json.RawMessage
}

func (f fields) read() (EffectSecret, error) {
	text := map[string]string{}
	for _, name := range []string{"privateKey", "publicKey", "passphrase", "knownHosts", "sudoPassword"} {
		raw, found := f.data[name]
		if !found {
			continue
		}
		var value string
		if json.Unmarshal(raw, &value) != nil {
			return EffectSecret{}, fmt.Errorf("secret %s: data.%s is not a text", f.secret, name)
		}
		text[name] = value
	}
	if strings.TrimSpace(text["privateKey"]) == "" {
		return EffectSecret{}, fmt.Errorf("secret %s has no data.privateKey", f.secret)
	}
	key, err := remote.ParseIdentity("secret "+f.secret, []byte(text["privateKey"]), []byte(text["publicKey"]), []byte(text["passphrase"]))
	if errors.Is(err, remote.ErrLocked) {
		return EffectSecret{}, fmt.Errorf("secret %s: data.privateKey is protected: put its passphrase into data.passphrase", f.secret)
	}
	if err != nil {
		return EffectSecret{}, fmt.Errorf("secret %s: data.privateKey cannot be used: %v", f.secret, err)
	}
	return EffectSecret{Sealed: Sealed{Identities: []remote.Identity{key}, KnownHosts: []byte(text["knownHosts"])}, sudoPassword: text["sudoPassword"]}, nil
}

func namesTold(secrets map[string]json.RawMessage) string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		names = append(names, plainWord(name))
	}
	switch n := len(names); {
	case n == 0:
		return "none at all"
	case n > secretsTold:
		return strings.Join(names[:secretsTold], ", ") + fmt.Sprintf(" and %d more", n-secretsTold)
	}
	return strings.Join(names, ", ")
}

// plainWord is a name from a file as a message may have it.
func plainWord(text string) string {
	const longest = 60
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > longest {
		return string(runes[:longest]) + "…"
	}
	return text
}
