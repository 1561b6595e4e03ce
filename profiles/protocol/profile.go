package protocol

import (
	"encoding/json"

	"github.com/hbohlen/hdeploy/profiles/transaction"
)

// MethodProfile asks any other method about one profile that is no NixOS system:
// ProfileRequest -> what that method answers. Facts, start, watch, confirm,
// abort, log, recall and the history are known of such a profile.
const MethodProfile = "profile"

// ProfileRequest is a request about one profile.
type ProfileRequest struct {
	// Program is the profile; Link is where its link is, empty for the place of its
	// kind, user and name.
	Program transaction.Program `json:"program"`
	Link    string              `json:"link,omitempty"`
	// Method and Params are the request itself.
	Method string          `json:"method"`
	Params json.RawMessage `json:"params,omitempty"`
}

// ProfileFacts are what is true of a profile beyond what it points at.
type ProfileFacts struct {
	// Kind is what the closures of the profile are.
	Kind string `json:"kind"`
	// Link is the profile's link on the host.
	Link string `json:"link"`
	// Lingers says that units of the owner's manager outlive a login.
	Lingers bool `json:"lingers,omitempty"`
}
