package protocol

// MethodReboot reboots a host on which no transaction is under way: RebootRequest
// -> RebootResult, which says that the reboot was asked for. A refusal has
// [CodeLocked] or [CodeFrozen].
const MethodReboot = "reboot"

// RebootRequest asks for a reboot. Force insists against a freeze.
type RebootRequest struct {
	Deployer string `json:"deployer"`
	Force    bool   `json:"force,omitempty"`
}

// RebootResult has nothing in it.
type RebootResult struct{}
