package hosts

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/crypto/ssh"
)

var (
	plainAttribute = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)
	hostName       = regexp.MustCompile(namePattern)
	accountName    = regexp.MustCompile(accountPattern)
	machineID      = regexp.MustCompile(`^[0-9a-f]{32}$`)
	unitName       = regexp.MustCompile(`^[A-Za-z0-9_:.\\@][A-Za-z0-9_:.\\@-]{0,254}$`)
	unitType       = regexp.MustCompile(`\.(service|socket|target|timer|path|mount|automount|swap|slice|scope|device)$`)
	attributePath  = regexp.MustCompile(`^([A-Za-z0-9_'-]+|"[^"\\$]+")(\.([A-Za-z0-9_'-]+|"[^"\\$]+"))*$`)
	keyPlaceholder = regexp.MustCompile(`^(ssh-[a-z0-9-]+|ecdsa-sha2-nistp[0-9]+) AAAA(\.\.\.|…)$`)
)

// CheckName says why text cannot be the name of a host; nil where it can.
func CheckName(text string) error { return asError(checkName(text)) }

// CheckAddress says why text cannot be the address of a host; nil where it can.
func CheckAddress(text string) error { return asError(checkAddress(text)) }

func asError(message, suggestion string) error {
	switch {
	case message == "":
		return nil
	case suggestion == "":
		return errors.New(message)
	}
	return fmt.Errorf("%s; write: %s", message, suggestion)
}

func checkName(text string) (string, string) {
	if hostName.MatchString(text) {
		return "", ""
	}
	if text == "" {
		return "the name is empty", ""
	}
	return fmt.Sprintf("%q is no valid name: letters, digits, dots, dashes and underscores", text), ""
}

func checkAddress(text string) (string, string) {
	if _, address, ok := strings.Cut(text, "://"); ok && address != "" {
		return "an address is no URL", strings.TrimSuffix(address, "/")
	}
	if inner, ok := strings.CutPrefix(text, "["); ok && strings.HasSuffix(text, "]") {
		return "brackets are not part of an address", strings.TrimSuffix(inner, "]")
	}
	if user, address, ok := strings.Cut(text, "@"); ok && user != "" {
		return "the user has a setting of its own", fmt.Sprintf("address = %q and user = %q", address, user)
	}
	if _, err := netip.ParseAddr(text); err == nil {
		return "", ""
	}
	if address, port, err := net.SplitHostPort(text); err == nil && address != "" {
		return "the port has a setting of its own", fmt.Sprintf("address = %q and port = %s", address, port)
	}
	if !hostName.MatchString(strings.TrimSuffix(text, ".")) {
		return fmt.Sprintf("%q is no host name or IP address", text), ""
	}
	return "", ""
}

// checkAbsolute accepts the path of a file on a host.
func checkAbsolute(text string) (string, string) {
	if message, suggestion := checkArgument(text); message != "" {
		return message, suggestion
	}
	if !path.IsAbs(text) {
		return fmt.Sprintf("%q is no absolute path", text), ""
	}
	if clean := path.Clean(text); clean != text {
		return fmt.Sprintf("%q is written in a roundabout way", text), clean
	}
	return "", ""
}

// checkMachineID accepts what machine-id(5) describes.
func checkMachineID(text string) (string, string) {
	if machineID.MatchString(text) {
		return "", ""
	}
	bare := strings.ToLower(strings.ReplaceAll(strings.TrimSpace(text), "-", ""))
	if !machineID.MatchString(bare) {
		bare = ""
	}
	return "it is not 32 hexadecimal digits, as in /etc/machine-id", bare
}

func checkAccount(text string) (string, string) {
	if accountName.MatchString(text) {
		return "", ""
	}
	return fmt.Sprintf("%q is no valid name of an account", text), ""
}

func checkUnit(text string) (string, string) {
	if unitName.MatchString(text) {
		return "", ""
	}
	return fmt.Sprintf("%q is no name of a systemd unit", text), ""
}

func checkAttribute(text string) (string, string) {
	if flake, attribute, ok := strings.Cut(text, "#"); ok && attribute != "" {
		return "the flake has a setting of its own", fmt.Sprintf("attribute = %q and, at the top, flake = %q", attribute, flake)
	}
	if len(text) > 1024 || !attributePath.MatchString(text) {
		return fmt.Sprintf("%q is no attribute path", text), `nixosConfigurations.web1.config.system.build.toplevel`
	}
	return "", ""
}

func checkFlake(text string) (string, string) {
	if flake, _, ok := strings.Cut(text, "#"); ok {
		return "the part after # belongs into the attribute of a host", flake
	}
	return checkWord(text)
}

// checkWord accepts what can stand as one argument of a command without being
// taken for an option.
func checkWord(text string) (string, string) {
	switch {
	case text == "":
		return "it is empty", ""
	case strings.HasPrefix(text, "-"):
		return fmt.Sprintf("%q would be read as an option", text), ""
	}
	return checkArgument(text)
}

func checkArgument(text string) (string, string) {
	const longest = 4096
	if len(text) > longest {
		return fmt.Sprintf("it is longer than %d bytes", longest), ""
	}
	if strings.ContainsFunc(text, unicode.IsControl) {
		return fmt.Sprintf("%q contains a control character", text), ""
	}
	return "", ""
}

// checkText accepts what a parameter of a probe may be; what it means is for its
// kind to judge.
func checkText(text string) (string, string) {
	const longest = 4096
	switch {
	case len(text) > longest:
		return fmt.Sprintf("it is longer than %d bytes", longest), ""
	case strings.ContainsRune(text, 0):
		return "it contains a NUL", ""
	}
	return "", ""
}

// checkHostKey accepts one public key in the format of authorized_keys, or a
// placeholder for one.
func checkHostKey(text string) (string, string) {
	if keyPlaceholder.MatchString(text) {
		return "", ""
	}
	key, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(text))
	switch {
	case strings.Contains(text, "PRIVATE KEY"):
		return "this is a private key; the public one is meant", `host_keys = ["ssh-ed25519 AAAA..."]`
	case err != nil:
		return "this is no public key", `host_keys = ["ssh-ed25519 AAAA..."] (ssh-keyscan prints it after the host's name)`
	case strings.TrimSpace(string(rest)) != "":
		return "this is more than one key", "one key per item of the list"
	case len(options) > 0:
		return "only the type and the key belong here", marshalKey(key)
	}
	if _, isCertificate := key.(*ssh.Certificate); isCertificate {
		return "this is a certificate; the host's own key is meant", ""
	}
	return "", ""
}

// marshalKey prints type and key without a comment.
func marshalKey(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// normalKey brings a key that checkHostKey accepted into the form of HostKeys.
func normalKey(text string) string {
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(text))
	if err != nil {
		return text // a placeholder
	}
	return marshalKey(key)
}
