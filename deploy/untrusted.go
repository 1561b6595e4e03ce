package deploy

import (
	"cmp"
	"fmt"
	"os"

	"github.com/hbohlen/hdeploy/deploy/nix"
)

// distrusted says of a copy that the host's daemon did not take what can be done about
// it: trust the user, or a key.
func (h *hostRun) distrusted(f *Failure, failed *nix.Error) {
	f.Cause = fmt.Errorf("the Nix daemon of the host takes no unsigned paths from %s: %s", h.User, failed.Cause)
	f.Next = fmt.Sprintf(`let %[1]s import what nobody signed, in the configuration of %[2]s (deploy that as root):
    nix.settings.trusted-users = [ "%[1]s" ];
or sign what is built here, once and from now on,
    nix key generate-secret --key-name %[3]s-1 >/etc/nix/signing-key
    echo "secret-key-files = /etc/nix/signing-key" >>/etc/nix/nix.conf
    nix store sign --recursive --key-file /etc/nix/signing-key %[4]s
and let %[2]s trust what "nix key convert-secret-to-public </etc/nix/signing-key" prints:
    nix.settings.trusted-public-keys = [ "%[3]s-1:..." ];`, h.User, h.Name, here(), h.system.OutPath)
}

// notAdmitted says of a copy as the login user that the host's daemon hung up on that
// user, or could not be reached by it. Why, the daemon tells only its own log.
func (h *hostRun) notAdmitted(f *Failure, said string) {
	f.Cause = fmt.Errorf("the Nix daemon of the host does not serve %s: %v", h.User, cmp.Or(said, f.Cause.Error()))
	f.Next = fmt.Sprintf(`let %[1]s use the daemon, in the configuration of %[2]s, where nix.settings.allowed-users does not name everybody:
    nix.settings.allowed-users = [ "%[1]s" ];
or see why it hung up: %[3]s`, h.User, h.Name, h.ssh("journalctl -u nix-daemon -n 20"))
}

// here is the name of this machine, by which people know its key.
func here() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "deployer"
	}
	return name
}
