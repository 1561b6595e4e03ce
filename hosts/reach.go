package hosts

import (
	"cmp"
	"slices"
	"strings"

	"github.com/hbohlen/hdeploy/hosts/sshconfig"
)

// Question is what ssh_config was asked about a host, so that it can be asked again
// where one run reaches the host in another way.
type Question struct {
	// Host is the host before the answer.
	Host   Host
	Config *sshconfig.Config
	Says   Sayings
	// Named is as for [Host.Connect].
	Named func(string) []Jump
}

// Reach is [Host.At] for a host of the inventory, with what ssh_config says of it then:
// Match blocks of the other user hold, and a ProxyCommand leads to the other address.
// The address stands in the place of HostName, so that the Host blocks of the host's
// own name go on holding for it.
func (inv *Inventory) Reach(h Host, address string, port int, user string, said Origins) (Host, error) {
	reached := h.At(address, port, user, said)
	question, asked := inv.Questions[h.Name]
	if !asked || reached.Local {
		return reached, nil
	}
	again, err := question.again(address, port, user)
	if err != nil {
		var d decoder
		d.failSSH("host "+h.Name, err)
		return h, d.faults
	}
	if slices.Equal(reached.Elevation, DefaultElevation(reached.User)) {
		reached.Elevation = DefaultElevation(again.User)
	}
	reached.Address, reached.Port, reached.User = again.Address, again.Port, again.User
	reached.IdentityFiles, reached.Jump, reached.SSH = again.IdentityFiles, again.Jump, again.SSH
	reached.Timeouts.Connect = again.Timeouts.Connect
	reached.Profiles = slices.Clone(reached.Profiles)
	reached.settleProfiles()
	if err := question.askConfirm(&reached, address, port, user); err != nil {
		var d decoder
		d.failSSH("host "+h.Name, err)
		return h, d.faults
	}
	return reached, nil
}

// askConfirm asks for the way to where the new system of a host answers that is reached
// with these: a ProxyCommand must lead there, and not to where the host was.
func (q Question) askConfirm(h *Host, address string, port int, user string) error {
	if h.Confirm == nil || h.Local {
		return nil
	}
	place := *h.Confirm // a level may have it for several hosts
	there, err := q.again(cmp.Or(place.Address, address), cmp.Or(place.Port, port), cmp.Or(place.User, user))
	place.Way = &Way{there.IdentityFiles, there.Jump, there.SSH}
	h.Confirm = &place
	return err
}

// again is the host as it is reached with these, of which any may be empty.
func (q Question) again(address string, port int, user string) (Host, error) {
	h, says := q.Host, q.Says
	says.Said = func(key string) bool {
		return key == "port" && port != 0 || key == "user" && user != "" || q.Says.Said(key)
	}
	h.Port, h.User = cmp.Or(port, h.Port), cmp.Or(user, h.User)
	switch {
	case address == "":
	case h.Local:
		h.Local, h.Address = false, address
	default:
		// It counts as said, which a directive from nowhere does not.
		hostName := sshconfig.Option{Directive: "HostName", Value: strings.ReplaceAll(address, "%", "%%"), Source: sshconfig.Source{File: "the command line"}}
		says.Options = append([]sshconfig.Option{hostName}, says.Options...)
	}
	err := h.Connect(q.Config, says, q.Named)
	return h, err
}
