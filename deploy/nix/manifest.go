package nix

import "encoding/json"

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
