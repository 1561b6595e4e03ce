package reach

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestBlocksThatAskForAPlaceAreCompared(t *testing.T) {
	const config = "Port 22\n# Match Address 1.2.3.4\nMatch User sftp Address 10.0.0.0/8\n ChrootDirectory /srv\nMatch User sftp\n X11Forwarding no\n" +
		"Match address *,!10.0.0.0/8\n  AllowUsers nobody\n\tBanner none\nMatch Group wheel\n PermitTTY no\nMatch LocalPort=2222 User a*,root\nPasswordAuthentication no\n"
	want := []string{"Match address *,!10.0.0.0/8 AllowUsers nobody Banner none", "Match LocalPort 2222 User a*,root PasswordAuthentication no"}
	if got := matchBlocks(config, "ann"); !slices.Equal(got, want) {
		t.Errorf("the blocks are %q, want %q", got, want)
	}
	path := filepath.Join(t.TempDir(), "sshd_config")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := (daemon{args: []string{"-f", path}}).elsewhere("bob"); !slices.Equal(got, want[:1]) {
		t.Errorf("the blocks of a file are %q", got)
	}
	before, now := with(t, someone), with(t, someone, "match "+want[0])
	if f := compareSettings("ann", before, now); f.State != Changed {
		t.Errorf("a new block for a place is %s", f.State)
	}
}

func TestWhomPAMLetsInIsCompared(t *testing.T) {
	const nixos = "# Account management.\naccount required /nix/store/a-linux-pam-1.6.1/lib/security/pam_unix.so # unix (order 10900)\n\n" +
		"# Authentication management.\nauth sufficient /nix/store/a-linux-pam-1.6.1/lib/security/pam_unix.so likeauth try_first_pass # unix (order 11600)\n"
	one := pamLines(nixos)
	if !slices.Equal(one, []string{"account required pam_unix.so"}) {
		t.Errorf("the lines are %q", one)
	}
	if two := pamLines(strings.ReplaceAll(nixos, "a-linux-pam-1.6.1", "b-linux-pam-1.7.0")); !slices.Equal(one, two) {
		t.Errorf("another release differs: %q", two)
	}
	more := pamLines("account required /nix/store/a-linux-pam/lib/security/pam_access.so accessfile=/etc/access # access\n" + nixos)
	if f := compareSettings("ann", with(t, someone, "pam "+one[0]), with(t, someone, "pam "+strings.Join(more, "|"))); f.State != Changed {
		t.Errorf("one more module is %s", f.State)
	}
}

// A block about the port or address of the host makes sshd fail where it is not told them.
func TestSshdIsToldWhereSomebodyArrives(t *testing.T) {
	from := netip.MustParseAddr("198.51.100.7")
	d := daemon{global: Settings{"listenaddress": {"192.0.2.20:2222", "192.0.2.20:22"}}}
	if got := strings.Join(d.about("ann", from), ","); got != "user=ann,host=198.51.100.7,addr=198.51.100.7,laddr=192.0.2.20,lport=22" {
		t.Errorf("sshd is told %s", got)
	}
	d.global = Settings{"listenaddress": {"0.0.0.0:22"}}
	if own := d.answersFrom(netip.MustParseAddr("127.0.0.1")); own.String() != "127.0.0.1" {
		t.Errorf("it answers from %v", own)
	}
}

func TestAHostKeyThatIsGoneIsAChange(t *testing.T) {
	for _, c := range []struct {
		before, now []string
		want        State
	}{
		{[]string{keyOne, keyTwo}, []string{keyTwo, keyOne}, Proven}, {[]string{keyOne}, []string{keyOne, keyTwo}, Proven}, {[]string{keyOne, keyTwo}, []string{keyTwo}, Changed},
	} {
		if f := compareHostKeys(c.before, c.now); f.State != c.want || strings.Contains(f.Detail, "AAAA") {
			t.Errorf("%q to %q: %+v", c.before, c.now, f)
		}
	}
}

func TestZonesOfAddressesAreNamesOfInterfaces(t *testing.T) {
	for address, want := range map[string]bool{"fe80::1%eth0": true, "fe80::1%x@elsewhere": false, "fe80::1%a\nb": false, "fe80::1%$(id)": false, "2001:db8::1": true} {
		k := Knock{Address: address, Port: 22, User: "root", HostKeys: []string{keyOne}}
		if err := k.Validate(); (err == nil) != want {
			t.Errorf("%q: %v", address, err)
		}
	}
}
