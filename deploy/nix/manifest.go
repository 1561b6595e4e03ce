package nix

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Manifest is what a NixOS configuration says of a host, without an evaluation here:
// `lib.expectations` of hdeploy's flake, written to a file at build time.
type Manifest struct {
	// Version is 1.
	Version int `json:"version"`
	// HostName is networking.hostName, System for instance "x86_64-linux".
	HostName string `json:"hostName"`
	System   string `json:"system"`
	// Toplevel is the store path of the system that the rest is about.
	Toplevel string `json:"toplevel"`
	// Expectations has the form of [Expectations].
	Expectations json.RawMessage `json:"expectations"`
}

const (
	manifestVersion = 1
	// MostManifestBytes is far above what a configuration with a thousand secrets says.
	MostManifestBytes = 1 << 20
)

// ParseManifest reads a manifest and nothing beside it: a field that is not known, or
// of another type, would be an expectation that nobody judges by.
func ParseManifest(data []byte) (*Manifest, error) {
	if len(data) > MostManifestBytes {
		return nil, fmt.Errorf("there are more than %d KiB", MostManifestBytes>>10)
	}
	var versioned struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &versioned); err != nil {
		return nil, jsonFault(err)
	}
	if versioned.Version != manifestVersion {
		return nil, fmt.Errorf("its version is %d, and this hdeploy reads version %d", versioned.Version, manifestVersion)
	}
	var m Manifest
	if err := strictly(data, &m); err != nil {
		return nil, err
	}
	if !isStorePath(m.Toplevel) {
		return nil, fmt.Errorf("its toplevel %q is not a store path", oneLine(m.Toplevel, 200))
	}
	for name, text := range map[string]string{"hostName": m.HostName, "system": m.System} {
		if text != clean(text, 64) || strings.ContainsAny(text, " \n\t") {
			return nil, fmt.Errorf("its %s is %q", name, oneLine(text, 80))
		}
	}
	if text := bytes.TrimSpace(m.Expectations); len(text) == 0 || text[0] != '{' {
		return nil, errors.New("it has no expectations")
	}
	if err := strictly(m.Expectations, &Expectations{}); err != nil {
		return nil, fmt.Errorf("its expectations: %v", err)
	}
	return &m, nil
}

// strictly decodes one value, in which every field is known.
func strictly(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return jsonFault(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something after the end of the JSON")
	}
	return nil
}

func jsonFault(err error) error {
	return errors.New(oneLine(strings.TrimPrefix(err.Error(), "json: "), 200))
}
