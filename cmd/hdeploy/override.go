package main

import (
	"maps"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/hosts"
)

// overrides are what options and the environment say of hosts; they come after all
// that deploy.toml says.
type overrides struct {
	confirm    time.Duration // zero where deploy.toml decides
	activation time.Duration
	orBoot     bool
	// origins are where they were said.
	origins hosts.Origins
}

func readOverrides(c *cli.Context) (overrides, error) {
	o := overrides{orBoot: c.Bool("or-boot")}
	var err error
	if o.confirm, err = readTimeout(c, "confirm-timeout"); err != nil {
		return o, err
	}
	if o.activation, err = readTimeout(c, "activation-timeout"); err != nil {
		return o, err
	}
	for option, key := range map[string]string{
		"confirm-timeout": "timeouts.confirm", "activation-timeout": "timeouts.activation", "or-boot": "when_reboot_needed", "flake": "flake",
	} {
		if c.IsSet(option) {
			o.origins.Say(key, originOf(c, option))
		}
	}
	return o, nil
}

// over puts them over what is known of a host and its profiles.
func (o overrides) over(h *hosts.Host) {
	h.Origins = maps.Clone(h.Origins)
	for key, from := range o.origins {
		if key == "flake" {
			continue // it is the file's
		}
		h.Origins.Say(key, from[0])
		for name := range h.Origins {
			if strings.HasPrefix(name, "profiles.") && strings.HasSuffix(name, "."+key) {
				h.Origins.Say(name, from[0])
			}
		}
	}
	o.timeouts(&h.Timeouts)
	for i := range h.Profiles {
		o.timeouts(&h.Profiles[i].Timeouts)
	}
	h.OrBoot = h.OrBoot || o.orBoot
}

func (o overrides) timeouts(t *hosts.Timeouts) {
	if o.confirm > 0 {
		t.Confirm = o.confirm
	}
	if o.activation > 0 {
		t.Activation = o.activation
	}
}
