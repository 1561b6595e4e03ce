package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sort"
	"time"
)

const version = "0.10.8"

// agent is one configured agent.
type agent struct {
	BaseDirectory        string `json:"baseDirectory"`
	WorkDirectory        string `json:"workDirectory"`
	SecretsJSONPath      string `json:"secretsJsonPath"`
	ConcurrentTasks      int    `json:"concurrentTasks"`
	ClusterJoinTokenPath string `json:"clusterJoinTokenPath"`
	BinaryCachesPath     string `json:"binaryCachesPath"`
	APIBaseURL           string `json:"apiBaseUrl"`

	hostName string
	// handshake bounds one attempt to open the socket, pause is the time between two: 30 s and 10 s unless the lab says otherwise.
	handshake, pause time.Duration
}

// start is what the self-test covers: configuration, caches, token readable, one call that is not repeated. It does not look
// into the token.
func start(configFile string) (*agent, error) {
	data, err := os.ReadFile(configFile)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %v", err)
	}
	var a agent
	if err := json.Unmarshal(data, &a); err != nil {
		return nil, fmt.Errorf("parse configuration: %v", err)
	}
	a.handshake, a.pause = seconds("LAB_HANDSHAKE", 30*time.Second), seconds("LAB_PAUSE", 10*time.Second)
	if a.hostName, err = os.Hostname(); err != nil {
		return nil, fmt.Errorf("find host name: %v", err)
	}
	if err := a.checkCaches(); err != nil {
		return nil, err
	}
	if _, err := os.ReadFile(a.ClusterJoinTokenPath); err != nil {
		return nil, fmt.Errorf("%s: openBinaryFile: does not exist or cannot be read: %v", a.ClusterJoinTokenPath, err)
	}
	if _, err := a.call("getServiceInfo", ""); err != nil {
		return nil, err
	}
	return &a, nil
}

// checkCaches reads binary-caches.json as the agent does: an unknown kind is only a warning.
func (a *agent) checkCaches() error {
	data, err := os.ReadFile(a.BinaryCachesPath)
	if os.IsNotExist(err) {
		return errors.New("The binary-caches.json file does not exist.")
	}
	if err != nil {
		return err
	}
	var caches map[string]map[string]any
	if err := json.Unmarshal(data, &caches); err != nil {
		return fmt.Errorf("AesonException: Error in $: %v", err)
	}
	if len(caches) == 0 {
		a.log("Warning", "Hercules/Agent/Cache.hs:41:7", "You did not configure any caches.")
	}
	names := make([]string, 0, len(caches))
	for name := range caches {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if err := a.checkCache(name, caches[name]); err != nil {
			return err
		}
	}
	return nil
}

func (a *agent) checkCache(name string, cache map[string]any) error {
	required := map[string][]string{
		"CachixCache": {"publicKeys"},
		"NixCache":    {"storeURI", "publicKeys", "signingKeys"},
	}
	kind, found := cache["kind"].(string)
	if !found {
		return fmt.Errorf("AesonException: Error in $.%s: key \"kind\" not found", name)
	}
	keys, known := required[kind]
	if !known {
		a.log("Warning", "Hercules/Formats/CacheKeys.hs:58:5", fmt.Sprintf("Cache %s has unknown kind %s", name, kind))
		return nil
	}
	for _, key := range keys {
		value, found := cache[key]
		if !found {
			return fmt.Errorf("AesonException: Error in $.%s: key %q not found", name, key)
		}
		if _, list := value.([]any); key != "storeURI" && !list {
			return fmt.Errorf("AesonException: Error in $.%s.%s: parsing [] failed, expected Array", name, key)
		}
	}
	return nil
}

// log writes a line in the agent's form. The severity stands in the text only: journald gives every line the same priority.
func (a *agent) log(severity, place, message string) {
	fmt.Fprintf(os.Stderr, "[%s][Agent][%s][%s][PID %d][ThreadId 4][agent-version:%s][main:%s] %s\n",
		time.Now().UTC().Format("2006-01-02 15:04:05"), severity, a.hostName, os.Getpid(), version, place, message)
}
