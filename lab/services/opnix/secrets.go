package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
)

type config struct {
	Secrets            []secret `json:"secrets"`
	SystemdIntegration struct {
		ChangeDetection struct {
			HashFile string `json:"hashFile"`
		} `json:"changeDetection"`
	} `json:"systemdIntegration"`
}

type secret struct {
	Reference string   `json:"reference"`
	Path      string   `json:"path"`
	Owner     string   `json:"owner"`
	Group     string   `json:"group"`
	Mode      string   `json:"mode"`
	Services  []string `json:"services"`
}

type owner struct {
	uid, gid int
	mode     os.FileMode
}

func loadConfig(path string) (config, error) {
	var c config
	data, err := os.ReadFile(path)
	if err != nil {
		return c, &failure{exitGeneral, "Loading configuration", err.Error()}
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, &failure{exitGeneral, "Parsing configuration", err.Error()}
	}
	return c, nil
}

// owners validates all secrets: one that nobody can own fails the whole run.
func (c config) owners() ([]owner, error) {
	list := make([]owner, len(c.Secrets))
	for i, secret := range c.Secrets {
		account, err := user.Lookup(secret.Owner)
		if err != nil {
			return nil, &failure{exitGeneral, "Validating configuration", fmt.Sprintf("user '%s' does not exist", secret.Owner)}
		}
		group, err := user.LookupGroup(secret.Group)
		if err != nil {
			return nil, &failure{exitGeneral, "Validating configuration", fmt.Sprintf("group '%s' does not exist", secret.Group)}
		}
		mode, err := strconv.ParseUint(secret.Mode, 8, 9)
		if err != nil {
			return nil, &failure{exitGeneral, "Validating configuration", fmt.Sprintf("invalid mode '%s'", secret.Mode)}
		}
		if list[i].uid, err = strconv.Atoi(account.Uid); err != nil {
			return nil, fmt.Errorf("parse user id: %v", err)
		}
		if list[i].gid, err = strconv.Atoi(group.Gid); err != nil {
			return nil, fmt.Errorf("parse group id: %v", err)
		}
		list[i].mode = os.FileMode(mode)
	}
	return list, nil
}

// vault maps references to values.
type vault map[string]string

func openVault(tokenFile string) (vault, error) {
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		return nil, &failure{exitGeneral, "Reading token", err.Error()}
	}
	if len(bytes.TrimSpace(token)) == 0 {
		return nil, &failure{exitGeneral, "Reading token", "Token file is empty!"}
	}
	switch os.Getenv("LAB_FAIL") {
	case "auth":
		return nil, &failure{exitGeneral, "Initializing client", "error initializing client: invalid service account token"}
	case "network":
		return nil, &failure{exitGeneral, "Initializing client", "dial tcp: lookup my.1password.com: no such host"}
	case "rate-limited":
		return nil, &failure{exitRateLimited, "Resolving secrets", "provider resolution failed: rate_limited"}
	}
	data, err := os.ReadFile(os.Getenv("LAB_VAULT"))
	if err != nil {
		return nil, &failure{exitGeneral, "Initializing client", err.Error()}
	}
	var v vault
	if err := json.Unmarshal(data, &v); err != nil {
		return nil, &failure{exitGeneral, "Initializing client", err.Error()}
	}
	return v, nil
}

func (v vault) resolve(reference string) (string, error) {
	value, found := v[reference]
	if !found {
		return "", &failure{exitReference, "Resolving secrets", "provider resolution failed: " + reference + ": no item matched the reference"}
	}
	return value, nil
}

// write truncates and writes in place, as OpNix does: readers may meet half a secret.
func write(secret secret, owner owner, value string) error {
	mode := owner.mode
	if wrong, err := strconv.ParseUint(os.Getenv("LAB_MODE"), 8, 9); err == nil {
		mode = os.FileMode(wrong)
	}
	if err := os.MkdirAll(filepath.Dir(secret.Path), 0o755); err != nil {
		return &failure{exitGeneral, "Writing secret", err.Error()}
	}
	file, err := os.OpenFile(secret.Path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return &failure{exitGeneral, "Writing secret", err.Error()}
	}
	defer file.Close()
	if err := file.Chown(owner.uid, owner.gid); err != nil {
		return &failure{exitGeneral, "Writing secret", err.Error()}
	}
	if err := file.Chmod(mode); err != nil {
		return &failure{exitGeneral, "Writing secret", err.Error()}
	}
	if _, err := file.WriteString(value); err != nil {
		return &failure{exitGeneral, "Writing secret", err.Error()}
	}
	return nil
}
