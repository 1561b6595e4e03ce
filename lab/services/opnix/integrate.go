package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// recorded is what secret-hashes.json keeps of a secret.
type recorded struct {
	Path         string    `json:"path"`
	Hash         string    `json:"hash"`
	LastModified time.Time `json:"lastModified"`
}

type hashes struct {
	Hashes map[string]recorded `json:"hashes"`
}

// action is what is done to a service: it is restarted or sent a signal, or started where it failed for want of a secret.
type action struct {
	restart, start bool
	signal         string
}

// integrate acts on the services of changed secrets. On the first run every secret counts as changed.
func (o opnix) integrate(c config) error {
	file := c.SystemdIntegration.ChangeDetection.HashFile
	known := hashes{Hashes: map[string]recorded{}}
	if data, err := os.ReadFile(file); err == nil {
		if err := json.Unmarshal(data, &known); err != nil {
			return &failure{code: exitGeneral, operation: "Parsing hash store", component: "configuration", issue: "Invalid JSON format in hash store file"}
		}
	}
	var changed []string
	actions := map[string]action{}
	for i, secret := range c.Secrets {
		isNew, err := known.note(secret.Path)
		if err != nil {
			fmt.Fprintf(os.Stderr, "WARNING: Failed to check changes for secret[%d]:%s: %v\n", i, secret.Path, err)
			continue
		}
		own := secret.actions(c.SystemdIntegration.RestartOnChange)
		if isNew {
			changed = append(changed, fmt.Sprintf("secret[%d]:%s", i, secret.Path))
			maps.Copy(actions, own)
		}
		if !o.old {
			o.revive(own, actions)
		}
	}
	if len(changed) > 0 {
		if err := known.save(file); err != nil {
			fmt.Fprintf(os.Stderr, "WARNING: Failed to save hash store: %v\n", err)
		}
	}
	if len(actions) == 0 {
		fmt.Println("INFO: No secret changes detected, skipping service restarts")
		return nil
	}
	if len(changed) > 0 {
		fmt.Printf("INFO: Processing %d changed secrets: %v\n", len(changed), changed)
	}
	o.act(actions, c.SystemdIntegration.ErrorHandling.MaxRetries)
	return nil
}

// actions are those for the services of a secret, whether given as a list or as an object.
func (s secret) actions(restart bool) map[string]action {
	all := map[string]action{}
	var list []string
	if json.Unmarshal(s.Services, &list) == nil {
		for _, name := range list {
			all[name] = action{restart: restart}
		}
		return all
	}
	var object map[string]struct {
		Restart *bool   `json:"restart"`
		Signal  *string `json:"signal"`
	}
	_ = json.Unmarshal(s.Services, &object)
	for name, settings := range object {
		one := action{restart: restart}
		if settings.Restart != nil {
			one.restart = *settings.Restart
		}
		if settings.Signal != nil {
			one.signal = *settings.Signal
		}
		all[name] = one
	}
	return all
}

// revive adds the start of services that failed: to restart them if they run would leave them as they are.
func (o opnix) revive(own, actions map[string]action) {
	for name := range own {
		shown, err := exec.Command(systemctl, "show", name, "--property=ActiveState", "--property=Result").Output()
		state := string(shown)
		if err == nil && (strings.Contains(state, "ActiveState=failed") || strings.Contains(state, "ActiveState=inactive") && strings.Contains(state, "Result=dependency")) {
			actions[name] = action{start: true}
		}
	}
}

const systemctl = "/usr/bin/systemctl"

// act continues on error, as OpNix does by default.
func (o opnix) act(actions map[string]action, attempts int) {
	var failed []string
	for _, name := range slices.Sorted(maps.Keys(actions)) {
		if err := o.attempt(name, actions[name], attempts); err != nil {
			failed = append(failed, fmt.Sprintf("%s: %v", name, err))
		}
	}
	if len(failed) > 0 {
		fmt.Fprintf(os.Stderr, "WARNING: Some service actions failed: %v\n", failed)
	}
}

func (o opnix) attempt(name string, a action, attempts int) error {
	fmt.Printf("INFO: %s service %s\n", a.verb(), name)
	command := o.command(name, a)
	var last error
	for attempt := range attempts {
		if attempt > 0 {
			fmt.Printf("INFO: Retrying service action for %s (attempt %d/%d)\n", name, attempt+1, attempts)
			time.Sleep(time.Duration(attempt) * o.pause)
		}
		output, err := exec.Command(command[0], command[1:]...).CombinedOutput()
		if err == nil {
			fmt.Printf("INFO: Successfully executed service action for %s\n", name)
			return nil
		}
		last = fmt.Errorf("command failed: %v, output: %s", err, output)
	}
	return last
}

func (a action) verb() string {
	switch {
	case a.start:
		return "Starting"
	case a.signal != "":
		return "Sending " + a.signal + " signal to"
	case a.restart:
		return "Restarting"
	}
	return "Reloading"
}

// command is the blocking form in 0.8.0: a service that is ordered after this unit waits for it to end, and this unit for the service,
// so that neither ever does. A signal goes to what no shell expands, in both.
func (o opnix) command(name string, a action) []string {
	word := "reload"
	switch {
	case a.start:
		word = "start"
	case a.signal != "":
		return []string{"/usr/bin/kill", "-" + a.signal, "$(systemctl show -p MainPID --value " + name + ")"}
	case a.restart && o.old:
		word = "restart"
	case a.restart:
		word = "try-restart"
	}
	if o.old {
		return []string{systemctl, word, name}
	}
	return []string{systemctl, "--no-block", word, name}
}

// note says whether the content of a file is another one than before, and keeps its hash.
func (h hashes) note(path string) (bool, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return false, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	hash := fmt.Sprintf("%x", sha256.Sum256(content))
	if h.Hashes[path].Hash == hash {
		return false, nil
	}
	h.Hashes[path] = recorded{Path: path, Hash: hash, LastModified: info.ModTime()}
	return true, nil
}

func (h hashes) save(path string) error {
	data, err := json.MarshalIndent(h, "", "  ")
	if err != nil {
		return fmt.Errorf("encode hashes: %v", err)
	}
	return os.WriteFile(path, data, 0o644)
}
