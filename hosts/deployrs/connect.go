package deployrs

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hbohlen/hdeploy/hosts"
)

// connect applies sshOpts to a host.
func (r *reader) connect(place string, h *hosts.Host, m merged) {
	options, faults := ParseSSHOptions(m.SSHOpts)
	for _, fault := range faults {
		r.fail(place+".sshOpts", "%v", fault)
	}
	if len(options.Ignored) > 0 {
		r.note("%s.sshOpts: %s: hdeploy has no use for it", place, strings.Join(distinct(options.Ignored), ", "))
	}
	for _, o := range options.Options {
		r.option(place, h, m, o)
	}
}

// option applies one directive.
func (r *reader) option(place string, h *hosts.Host, m merged, o Option) {
	o.Value = strings.Trim(o.Value, `"`)
	switch strings.ToLower(o.Name) {
	case "port":
		port, err := strconv.Atoi(o.Value)
		if err != nil || port < 1 || port > 65535 {
			r.fail(place+".sshOpts", "%q is no port", clean(o.Value))
			return
		}
		h.Port = port
	case "user":
		if m.login == "" { // deploy-rs writes sshUser@host, which wins
			h.User, h.Elevation = o.Value, r.elevation(place, o.Value, m)
		}
	case "hostname":
		h.Address = o.Value
	case "identityfile":
		h.IdentityFiles = append(h.IdentityFiles, absolute(o.Value))
	case "certificatefile":
		h.SSH.CertificateFiles = append(h.SSH.CertificateFiles, absolute(o.Value))
	case "identitiesonly":
		h.SSH.IdentitiesOnly = strings.EqualFold(o.Value, "yes")
	case "identityagent":
		h.SSH.IdentityAgent = o.Value
	case "proxyjump":
		h.SSH.ProxyJump = strings.Split(o.Value, ",")
	case "proxycommand":
		h.SSH.ProxyCommand = o.Value
	case "hostkeyalias":
		h.SSH.HostKeyAlias = o.Value
	case "connecttimeout":
		seconds, err := strconv.Atoi(o.Value)
		if err != nil || seconds < 1 || seconds > 600 {
			r.fail(place+".sshOpts", "ConnectTimeout %q is not between 1 and 600 seconds", clean(o.Value))
			return
		}
		h.Timeouts.Connect = time.Duration(seconds) * time.Second
	case "addressfamily":
		h.SSH.AddressFamily = o.Value
	case "bindaddress":
		h.SSH.BindAddress = o.Value
	default:
		r.fail(place+".sshOpts", "%s cannot be honoured", clean(o.Name))
	}
}

// absolute expands ~/ as ssh does.
func absolute(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	if full, err := filepath.Abs(path); err == nil {
		return full
	}
	return path
}
