package protocol

import (
	"encoding/json"
	"slices"
)

// MethodBuilt keeps what was built on the host from being collected and describes it:
// BuiltRequest -> Toplevel. Where it is not whole, the error has [CodeMissing], and it
// is built again.
const MethodBuilt = "built"

// BuiltRequest names a closure that was built on the host, and for which host, or which
// profile of a host. The last two for each are kept.
type BuiltRequest struct {
	Path string `json:"path"`
	For  string `json:"for"`
	// Unwrap asks what stands behind a wrapper of deploy-rs, and describes that.
	Unwrap bool `json:"unwrap,omitempty"`
}

// Toplevel is what must be known of a system before it is tried.
type Toplevel struct {
	// Switches says that it has the program switch-to-configuration.
	Switches bool `json:"switches"`
	// Inhibitors is its file of switch inhibitors, null where there is none.
	// InhibitorsError says why it cannot be judged.
	Inhibitors      json.RawMessage `json:"inhibitors,omitempty"`
	InhibitorsError string          `json:"inhibitors_error,omitempty"`
	// Kernel holds the store paths of kernel, initrd and kernel-modules; Bytes the sizes
	// of those of them that a boot loader may copy.
	Kernel map[string]string `json:"kernel,omitempty"`
	Bytes  map[string]int64  `json:"bytes,omitempty"`
	// Kind and Behind are what stands behind a wrapper of deploy-rs, and BehindError why
	// that cannot be told.
	Kind        string `json:"kind,omitempty"`
	Behind      string `json:"behind,omitempty"`
	BehindError string `json:"behind_error,omitempty"`
}

// MethodNixSettings asks how the host's own Nix builds and fetches: NixSettingsRequest
// -> NixSettings.
const MethodNixSettings = "nix-settings"

// NixSettingsRequest asks for all of NixSettings.
type NixSettingsRequest struct{}

// NixSettings are those of the host's nix.conf that its daemon would otherwise take from
// a client that it trusts, by name. One that is not set there is empty.
type NixSettings struct {
	Settings map[string]string `json:"settings"`
}

// IsNixSetting reports whether NixSettings can have a name: that of a setting that means
// something only on the machine whose nix.conf has it. No other one may be taken from a
// host: Nix here would load what plugin-files names, and send what netrc-file has.
func IsNixSetting(name string) bool {
	return slices.Contains([]string{"builders", "cores", "max-jobs", "post-build-hook", "substituters", "trusted-public-keys"}, name)
}
