package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"
)

type config struct {
	Secrets            []secret `json:"secrets"`
	SystemdIntegration struct {
		Enable          bool     `json:"enable"`
		Services        []string `json:"services"`
		RestartOnChange bool     `json:"restartOnChange"`
		ChangeDetection struct {
			Enable   bool   `json:"enable"`
			HashFile string `json:"hashFile"`
		} `json:"changeDetection"`
		ErrorHandling struct {
			MaxRetries int `json:"maxRetries"`
		} `json:"errorHandling"`
	} `json:"systemdIntegration"`
}

type secret struct {
	Reference string   `json:"reference"`
	Path      string   `json:"path"`
	Symlinks  []string `json:"symlinks"`
	Owner     string   `json:"owner"`
	Group     string   `json:"group"`
	Mode      string   `json:"mode"`
	// Services is a list of names, or an object of them.
	Services json.RawMessage `json:"services"`
}

type owner struct {
	uid, gid int
	mode     os.FileMode
}

// loadConfig reads and validates all of it: one secret that nobody can own fails the whole run.
func loadConfig(path string) (config, []owner, error) {
	var c config
	data, err := os.ReadFile(path)
	if err != nil {
		return c, nil, &failure{code: exitGeneral, operation: "Loading configuration file", component: "file system", issue: "Failed to read config file", cause: err.Error()}
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, nil, &failure{code: exitGeneral, operation: "Parsing configuration file", component: "configuration", issue: "Invalid JSON format in config file", cause: err.Error()}
	}
	owners, err := c.owners()
	return c, owners, err
}

func (c config) owners() ([]owner, error) {
	list := make([]owner, len(c.Secrets))
	for i, secret := range c.Secrets {
		account, err := user.Lookup(secret.Owner)
		if err != nil {
			return nil, nobody(i, "owner", "user", secret.Owner)
		}
		group, err := user.LookupGroup(secret.Group)
		if err != nil {
			return nil, nobody(i, "group", "group", secret.Group)
		}
		mode, err := strconv.ParseUint(secret.Mode, 8, 12)
		if err != nil {
			return nil, &failure{code: exitGeneral, operation: fmt.Sprintf("Validating secret[%d].mode", i), component: "validation", issue: fmt.Sprintf("Invalid value '%s' for field 'mode'", secret.Mode)}
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

func nobody(i int, field, kind, name string) error {
	return &failure{
		exitGeneral, fmt.Sprintf("Validating secret[%d].%s", i, field), "user management", fmt.Sprintf("%s '%s' does not exist", kind, name),
		"", []string{"Use an existing " + kind + " instead"},
	}
}

// vault maps references to values.
type vault struct {
	values map[string]string
	fault  string
}

// openVault tries as often as its version does: 0.8.0 once, 0.11.0 three times.
func (o opnix) openVault(tokenFile string) (vault, error) {
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		return vault{}, &failure{code: exitGeneral, operation: "Token access", component: "authentication", issue: "Failed to read token file: " + err.Error()}
	}
	if len(bytes.TrimSpace(token)) == 0 {
		return vault{}, &failure{code: exitGeneral, operation: "Token access", component: "authentication", issue: "Token file is empty"}
	}
	refused := map[string]string{
		"auth":    "error initializing client: invalid service account token, please make sure you provide a valid service account token as parameter",
		"network": "error initializing client: error sending request for url: dial tcp: lookup my.1password.com: no such host",
		"outage":  "error initializing client: unexpected http status: status code: 503 Service Unavailable",
	}[os.Getenv("LAB_FAIL")]
	if refused != "" {
		return vault{}, o.refuse(refused)
	}
	data, err := os.ReadFile(os.Getenv("LAB_VAULT"))
	if err != nil {
		return vault{}, fmt.Errorf("open the lab's vault: %v", err)
	}
	v := vault{fault: os.Getenv("LAB_FAIL")}
	if err := json.Unmarshal(data, &v.values); err != nil {
		return vault{}, fmt.Errorf("open the lab's vault: %v", err)
	}
	return v, nil
}

func (o opnix) refuse(cause string) error {
	const operation, attempts = "Initializing 1Password client", 3
	if !o.old {
		for attempt := 1; attempt < attempts; attempt++ {
			fmt.Fprintf(os.Stderr, "WARNING: %s attempt %d/%d failed: %s\n", operation, attempt, attempts, cause)
			time.Sleep(time.Duration(attempt) * o.pause)
		}
		cause = fmt.Sprintf("%s failed after %d attempts: %s", operation, attempts, cause)
	}
	return &failure{
		exitGeneral, operation, "1Password integration", "Failed to create 1Password SDK client - check token validity", cause,
		[]string{"Verify your 1Password service account token is valid", "Check if the token has expired: visit 1Password admin console"},
	}
}

// unresolved is a reference that has no value, in the words of 0.11.0 and in those of the SDK.
type unresolved struct{ kind, reference, issue, sdk string }

func (u *unresolved) Error() string {
	if u.reference == "" {
		return u.kind + ": " + u.issue
	}
	return u.kind + " for " + u.reference + ": " + u.issue
}

func (v vault) resolve(reference string) (string, *unresolved) {
	if v.fault == "rate-limited" {
		return "", &unresolved{"rate_limited", "", "1Password rate limit exceeded; wait for the provider reset window before retrying", "rate limit exceeded"}
	}
	value, found := v.values[reference]
	if !found {
		return "", &unresolved{"missing_reference", reference, "itemNotFound", "error resolving secret reference: no item matched the secret reference query"}
	}
	return value, nil
}

// tryOutput makes the directory and writes a file into it, which the watcher sees.
func (o opnix) tryOutput() error {
	if err := os.MkdirAll(o.output, 0o755); err != nil {
		return cannot("Creating output directory", err)
	}
	test := filepath.Join(o.output, ".opnix-test")
	if err := os.WriteFile(test, []byte("test"), 0o600); err != nil {
		return cannot("Testing output directory permissions", err)
	}
	_ = os.Remove(test)
	return nil
}

func cannot(operation string, err error) error {
	return &failure{code: exitGeneral, operation: operation, component: "file system", issue: err.Error()}
}

// write truncates and writes in place, as OpNix does: readers may meet half a secret. 0.8.0 sets the mode only of a file that it makes.
func (o opnix) write(secret secret, owner owner, value string) error {
	if err := os.MkdirAll(filepath.Dir(secret.Path), 0o755); err != nil {
		return cannot("Creating parent directory", err)
	}
	if err := os.WriteFile(secret.Path, []byte(value), owner.mode); err != nil {
		return cannot("Writing secret file", err)
	}
	if err := os.Chown(secret.Path, owner.uid, owner.gid); err != nil {
		return cannot("Setting ownership", err)
	}
	mode, wrong := owner.mode, false
	if bits, err := strconv.ParseUint(os.Getenv("LAB_MODE"), 8, 12); err == nil {
		mode, wrong = os.FileMode(bits), true
	}
	if !o.old || wrong {
		if err := os.Chmod(secret.Path, mode); err != nil {
			return cannot("Setting permissions", err)
		}
	}
	for _, link := range secret.Symlinks {
		if err := o.link(secret.Path, link); err != nil {
			return err
		}
	}
	return nil
}

func (o opnix) link(to, link string) error {
	if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
		return cannot("Creating parent directory", err)
	}
	if err := os.Remove(link); err != nil && !os.IsNotExist(err) {
		return cannot("Removing existing symlink", err)
	}
	if err := os.Symlink(to, link); err != nil {
		return cannot("Creating symlink", err)
	}
	return nil
}
