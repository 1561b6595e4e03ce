package probe

import (
	"strings"
	"testing"
)

// A unit that the activation rightly leaves alone has not missed a run.
func TestDigestIsOfWhatRestartsAUnit(t *testing.T) {
	const text = "[Unit]\nDescription=OpNix\nAfter=network.target\n\n[Service]\nExecStart=/bin/opnix\nType=oneshot\n\n[Install]\nWantedBy=multi-user.target\n"
	for name, c := range map[string]struct {
		from, to string
		same     bool
	}{
		"a description":           {"Description=OpNix", "Description=Secrets", true},
		"who is told of failures": {"After=", "OnFailure=mail.service\nAfter=", true},
		"who wants it":            {"multi-user.target", "graphical.target", true},
		"a remark":                {"[Service]", "# new\n; newer\n\n[Service]", true},
		"the program":             {"/bin/opnix", "/bin/opnix2", false},
		"an order":                {"network.target", "network-online.target", false},
		"a trigger":               {"[Service]", "X-Restart-Triggers=/nix/store/x\n[Service]", false},
		"the key elsewhere":       {"Type=", "Description=x\nType=", false},
	} {
		changed := strings.Replace(text, c.from, c.to, 1)
		if changed == text || (digest(changed) == digest(text)) != c.same {
			t.Errorf("%s: the same to the activation: %t, want %t", name, digest(changed) == digest(text), c.same)
		}
	}
	if digest("") != "" || digest("[Install]\n") == "" {
		t.Error("only no text has no digest")
	}
}
