package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"
)

// recorded is what secret-hashes.json keeps of a secret.
type recorded struct {
	Hash         string    `json:"hash"`
	LastModified time.Time `json:"lastModified"`
}

// integrate restarts the services of changed secrets. On the first run every secret counts as changed.
func integrate(c config, values []string) error {
	hashFile := c.SystemdIntegration.ChangeDetection.HashFile
	hashes := map[string]recorded{}
	if data, err := os.ReadFile(hashFile); err == nil {
		// A damaged file means that everything has changed.
		_ = json.Unmarshal(data, &hashes)
	}
	var services []string
	changed := 0
	for i, secret := range c.Secrets {
		hash := fmt.Sprintf("%x", sha256.Sum256([]byte(values[i])))
		if hashes[secret.Path].Hash == hash {
			continue
		}
		changed++
		hashes[secret.Path] = recorded{Hash: hash, LastModified: time.Now()}
		services = append(services, secret.Services...)
	}
	if err := saveHashes(hashFile, hashes); err != nil {
		return err
	}
	if changed == 0 {
		fmt.Println("INFO: No secret changes detected, skipping service restarts")
	} else {
		fmt.Printf("INFO: Processing %d changed secrets\n", changed)
	}
	slices.Sort(services)
	for _, service := range slices.Compact(services) {
		restart(service)
	}
	fmt.Println("Successfully processed systemd integration")
	return nil
}

func saveHashes(path string, hashes map[string]recorded) error {
	data, err := json.MarshalIndent(hashes, "", "  ")
	if err != nil {
		return fmt.Errorf("encode hashes: %v", err)
	}
	temporary := path + ".tmp"
	if err := os.WriteFile(temporary, data, 0o644); err != nil {
		return &failure{exitGeneral, "Saving hashes", err.Error()}
	}
	if err := os.Rename(temporary, path); err != nil {
		return &failure{exitGeneral, "Saving hashes", err.Error()}
	}
	return nil
}

// restart continues on error, as OpNix does by default. The blocking form is that of OpNix before 0.10.1: the service is ordered
// after this unit, so neither job ever ends.
func restart(service string) {
	fmt.Printf("INFO: Restarting service %s\n", service)
	arguments := []string{"--no-block", "try-restart", service + ".service"}
	if os.Getenv("LAB_BLOCKING_RESTART") != "" {
		arguments = []string{"restart", service + ".service"}
	}
	if output, err := exec.Command("/usr/bin/systemctl", arguments...).CombinedOutput(); err != nil {
		fmt.Printf("WARNING: Some service actions failed: %s: %v: %s\n", service, err, output)
	}
}
