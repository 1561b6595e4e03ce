package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/rs/zerolog"

	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/hosts/remote"
	"github.com/hbohlen/hdeploy/profiles/atomicfile"
)

// TrustRequest makes a host known: its key, and which machine it is.
type TrustRequest struct {
	Host hosts.Host
	// Accept vouches for a key that is not known, or, with Replace, that is not the
	// known one. It is called before the login, for every hop whose key is not known.
	Accept func(context.Context, remote.ShownKey) error
	// Fingerprint (SHA256:...) refuses every other key, one that is known already as
	// well; empty where nothing is expected.
	Fingerprint string
	// Replace also allows another machine-id than the recorded one.
	Replace bool
	// StateDir keeps the machine-id.
	StateDir string
	Secrets  *Secrets
	Log      zerolog.Logger
}

// Trusted is what is known of a host now.
type Trusted struct {
	// Added are the keys that were not known before.
	Added []remote.ShownKey
	// HostKey is the host's key as it stands in deploy.toml, Fingerprint its SHA256.
	HostKey, Fingerprint string
	MachineID            string
	// Record is the file that has the machine-id; empty where deploy.toml has it.
	Record string
}

// Trust logs in once, over a connection whose key Accept vouches for, and records key
// and machine-id. Nothing is written unless the login succeeds. Its error is a
// [*Failure]; the host is not changed.
func Trust(ctx context.Context, r TrustRequest) (Trusted, error) {
	h := newHostRun(&run{Request: Request{Log: r.Log, Secrets: r.Secrets}}, r.Host)
	if h.Local {
		return Trusted{}, refused(h.Name, "trust", "hdeploy switch "+h.Name, "it is this machine, which no key stands for")
	}
	var trusted Trusted
	conn, err := remote.DialTrusting(ctx, h.targetOf(h.Host), r.Replace, func(ctx context.Context, shown remote.ShownKey) error {
		if err := r.Accept(ctx, shown); err != nil {
			return err
		}
		trusted.Added = append(trusted.Added, shown)
		return nil
	})
	if err != nil {
		return trusted, h.connectionFailure("connect", err)
	}
	defer conn.Close()
	trusted.HostKey, trusted.Fingerprint = conn.HostKey()
	if r.Fingerprint != "" && r.Fingerprint != trusted.Fingerprint {
		return trusted, refused(h.Name, "host key", "compare it on the host's console, and where it is wrong take out what is known: host_keys in deploy.toml, or known_hosts",
			"it is %s, which was known already, and not %s, which was expected", trusted.Fingerprint, r.Fingerprint)
	}
	if trusted.MachineID, err = h.askMachineID(ctx, conn); err != nil {
		return trusted, err
	}
	if err := h.sameMachine(r, trusted.MachineID); err != nil {
		return trusted, err
	}
	return trusted, h.record(r, &trusted)
}

// machineID is the format of machine-id(5).
var machineID = regexp.MustCompile(`(?m)^[0-9a-f]{32}$`)

// machineIDLimit bounds the one question after the login.
const machineIDLimit = 30 * time.Second

func (h *hostRun) askMachineID(ctx context.Context, conn *remote.Conn) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, machineIDLimit)
	defer cancel()
	said, err := conn.Run(ctx, []string{"cat", "/etc/machine-id"}, nil)
	if err != nil {
		return "", h.connectionFailure("machine-id", err)
	}
	id := machineID.Find(said.Stdout)
	if id == nil {
		return "", refused(h.Name, "machine-id", h.ssh("cat /etc/machine-id"), "the host has no machine-id that can be read")
	}
	return string(id), nil
}

// sameMachine refuses another machine than the one that was known under this name.
func (h *hostRun) sameMachine(r TrustRequest, found string) error {
	known, place := h.MachineID, "deploy.toml"
	if _, err := RecordedMachineID(r.StateDir, h.Host); err != nil {
		return refused(h.Name, "machine-id", "remove that file, then: hdeploy trust "+h.Name, "%v", err)
	}
	if from := h.Origins["machine_id"]; len(from) > 0 && from[0].Level == hosts.LevelRecorded {
		place = from[0].File
		if r.Replace {
			return nil
		}
	}
	if known == "" || known == found {
		return nil
	}
	next := "hdeploy trust " + h.Name + " --replace"
	if place == "deploy.toml" {
		next = "correct machine_id of " + h.Name + " in deploy.toml"
	}
	return refused(h.Name, "machine-id", next, "IT IS ANOTHER MACHINE: its machine-id is %s, and %s says %s", found, place, known)
}

// record writes what is known now.
func (h *hostRun) record(r TrustRequest, t *Trusted) error {
	for _, key := range t.Added {
		if err := key.Write(); err != nil {
			return refused(h.Name, "known_hosts", "put the key into deploy.toml instead: host_keys", "%v", err)
		}
	}
	path := RecordOf(r.StateDir, h.Host)
	text, err := json.Marshal(machineRecord{MachineID: t.MachineID, Fingerprint: t.Fingerprint, Recorded: time.Now().UTC().Truncate(time.Second)})
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err == nil {
		err = atomicfile.Write(path, append(text, '\n'), 0o600)
	}
	if err != nil {
		return &Failure{Host: h.Name, Step: "record the machine-id", Cause: err, Next: "ls -ld " + filepath.Dir(path), Word: Failed, Code: CodeInternal}
	}
	t.Record = path
	return nil
}

// machineRecord is the content of a file in StateDir/machines.
type machineRecord struct {
	MachineID   string    `json:"machine_id"`
	Fingerprint string    `json:"fingerprint"`
	Recorded    time.Time `json:"recorded"`
}

// RecordOf is the file about the machine that a name of deploy.toml stands for, at
// one address: another file may have another host of the same name.
func RecordOf(stateDir string, h hosts.Host) string {
	name := h.Name + "@" + net.JoinHostPort(h.Address, strconv.Itoa(h.Port))
	return filepath.Join(stateDir, "machines", url.PathEscape(name)+".json")
}

// RecordedMachineID is the machine-id that Trust has recorded for a host, or empty.
func RecordedMachineID(stateDir string, h hosts.Host) (string, error) {
	const longest = 4 << 10
	path := RecordOf(stateDir, h)
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the recorded machine-id: %v", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, longest))
	if err != nil {
		return "", fmt.Errorf("read the recorded machine-id: %v", err)
	}
	var record machineRecord
	if json.Unmarshal(text, &record) != nil || !machineID.MatchString(record.MachineID) {
		return "", fmt.Errorf("read the recorded machine-id: %s has none", path)
	}
	return record.MachineID, nil
}
