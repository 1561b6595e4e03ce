package hosts

import (
	"errors"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// ParseAddress reads ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT. The port is zero where
// none is said. "local" is the machine at hand.
func ParseAddress(text string) (address string, port int, err error) {
	address = text
	_, notIPv6 := netip.ParseAddr(text)
	if host, number, splitErr := net.SplitHostPort(text); notIPv6 != nil && splitErr == nil && !strings.Contains(text, "://") {
		if port, err = strconv.Atoi(number); err != nil || port < 1 || port > 65535 {
			return "", 0, errors.New(printable(number) + " is no port from 1 to 65535")
		}
		address = host
	} else if inner, ok := strings.CutPrefix(text, "["); ok && strings.HasSuffix(inner, "]") {
		address = strings.TrimSuffix(inner, "]")
	}
	if address == localAddress && port == 0 {
		return address, 0, nil
	}
	if message, suggestion := checkAddress(address); message != "" {
		if suggestion != "" {
			message += "; write: " + suggestion
		}
		return "", 0, errors.New(message)
	}
	return address, port, nil
}

// CheckUser says what is wrong with the name of a login user.
func CheckUser(name string) error {
	if message, _ := checkAccount(name); message != "" {
		return errors.New(message)
	}
	return nil
}

// At returns the host as it is reached at another address, port or user, said there.
// What is empty stays. The address "local" is the machine at hand; any other one is
// another machine's. Where the new system answers follows, unless it is said to be
// elsewhere.
func (h Host) At(address string, port int, user string, said Origins) Host {
	before := h
	h.Origins = maps.Clone(h.Origins)
	for key, from := range said {
		h.Origins.Say(key, from[0])
	}
	switch {
	case address == localAddress:
		h.Local, h.Address = true, localHost
	case address != "":
		h.Local, h.Address = false, address
	}
	if port != 0 {
		h.Port = port
	}
	if user != "" && user != h.User {
		h.User = user
		if slices.Equal(h.Elevation, DefaultElevation(before.User)) {
			h.Elevation = DefaultElevation(user)
		}
	}
	if before.Confirm != nil {
		place := *before.Confirm
		if place.Address == before.Address {
			place.Address = h.Address
		}
		if place.Port == before.Port {
			place.Port = h.Port
		}
		if place.User == before.User {
			place.User = h.User
		}
		h.Confirm = &place
	}
	return h
}
