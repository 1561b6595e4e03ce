package hosts

import (
	"errors"
	"fmt"
)

// Unlisted is the inventory of one host that stands in no file: its name is its address,
// and everything else has its default, or is as ssh_config says.
func Unlisted(name string, kinds Kinds) (*Inventory, error) {
	address, port, err := ParseAddress(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %v", printable(name), err)
	}
	if port != 0 || !hostName.MatchString(name) {
		return nil, fmt.Errorf("%s is no name of a host", printable(address))
	}
	inv, err := decode(name, "", fmt.Appendf(nil, "[hosts.%q]\n", name), kinds)
	if faults, ok := errors.AsType[ConfigErrors](err); ok {
		return nil, errors.New(faults[0].Message)
	}
	return inv, err
}
