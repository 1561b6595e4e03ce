package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hbohlen/hdeploy/hosts/remote"
	"github.com/hbohlen/hdeploy/hosts/remote/remotetest"
	"github.com/hbohlen/hdeploy/profiles/protocol"
)

// What these programs say, from sudo 1.9.16, sudo-rs 0.2.5, opendoas 6.8.2 and run0 of
// systemd 257.
func TestWhyTheLoginUserIsNotRoot(t *testing.T) {
	const (
		rule     = "no rule of the host"
		password = "without a password"
		program  = "no such program"
		other    = "may not become root"
	)
	for said, want := range map[string]string{
		"sudo: a password is required": password,
		"sudo: a terminal is required to read the password; either use the -S option to read from standard input or configure an askpass helper": password,
		"sudo: interactive authentication is required":                                                           password,
		"sudo-rs: interactive authentication is required":                                                        password,
		"doas: Authentication required":                                                                          password,
		"doas: Authorization required":                                                                           password,
		"doas: a tty is required":                                                                                password,
		"Failed to start transient service unit: Interactive authentication required.":                           password,
		"Sorry, user deploy is not allowed to execute '/bin/sh -c PATH=' as root on web1.":                       rule,
		"Sorry, user deploy may not run sudo on web1.":                                                           rule,
		"deploy is not in the sudoers file.\nThis incident has been reported to the administrator.":              rule,
		"sudo: I'm sorry deploy. I'm afraid I can't do that":                                                     other,
		"sudo-rs: I'm sorry deploy. I'm afraid I can't do that":                                                  other,
		"doas: Operation not permitted":                                                                          rule,
		"Failed to start transient service unit: Access denied":                                                  other,
		"sudo: unable to open /etc/sudoers: Permission denied":                                                   other,
		"sudo: /etc/sudo.conf is owned by uid 65534, should be 0":                                                other,
		"sudo: effective uid is not 0, is /run/wrappers/bin/sudo on a file system with the 'nosuid' option set?": other,
		"bash: line 1: sudo: command not found":                                                                  program,
		"sh: 1: doas: not found":                                                                                 program,
		"fish: Unknown command: run0":                                                                            program,
		"mkdir: cannot create directory '/var/lib/hdeploy': Permission denied":                                   other,
		"sudo: sorry, you must have a tty to run sudo":                                                           "requiretty",
		"Segmentation fault":                                                                                     "",
		"sh: syntax error":                                                                                       "",
		"hdeploy-agent: sudo":                                                                                    "",
	} {
		got := notElevated(said)
		if want == "" && got != nil || want != "" && (got == nil || !strings.Contains(got.Error(), want)) {
			t.Errorf("%q means %v, not %q", said, got, want)
		}
	}
}

func TestAnAgentOfTheHostIsTheOnlyProgramThatRuns(t *testing.T) {
	h := newHost(t, "serves", remotetest.Options{})
	path := filepath.Join(h.bin, "hdeploy-agent")
	h.program("hdeploy-agent", `[ "$*" = serve ] || exit 9
echo "`+protocol.Ready+`" >&2
exec "$HDEPLOY_TEST_AGENT" serve`)
	h.program("as-root", `echo "$*" >>"$0.log"; exec "$@"`)
	h.target.User, h.target.Elevation = "deploy", []string{filepath.Join(h.bin, "as-root")}
	conn, err := remote.Dial(within(t), h.target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	var facts protocol.Facts
	a, err := Start(within(t), conn, path, AskFacts(protocol.FactsRequest{Profile: "asked"}, &facts))
	if err != nil || facts.Hostname != "asked" {
		t.Fatalf("%+v, %v", facts, err)
	}
	a.Close()
	ran, err := os.ReadFile(filepath.Join(h.bin, "as-root.log"))
	if err != nil || string(ran) != path+" serve\n" {
		t.Errorf("as root ran %q, %v", ran, err)
	}
	if _, err := os.Stat(h.lib); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something was uploaded: %v", err)
	}
}

func TestAHostWithoutItsAgent(t *testing.T) {
	for name, program := range map[string]string{
		"by the shell": `exec "$@"`,
		"by sudo":      `echo "sudo: $1: command not found" >&2; exit 1`,
		"by sudo-rs":   `echo "sudo-rs: '$1': command not found" >&2; exit 1`,
		"by doas":      `echo "doas: $1: command not found" >&2; exit 1`,
		"by run0":      `echo "Failed to find executable $1: No such file or directory" >&2; exit 1`,
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, "serves", remotetest.Options{})
			h.program("as-root", program)
			h.target.User, h.target.Elevation = "deploy", []string{filepath.Join(h.bin, "as-root")}
			conn, err := remote.Dial(within(t), h.target)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			_, err = Start(within(t), conn, "/nowhere/hdeploy-agent", AskFacts(protocol.FactsRequest{}, &protocol.Facts{}))
			var failed *Error
			if !errors.As(err, &failed) || failed.Kind != Absent || !strings.Contains(err.Error(), "/nowhere/hdeploy-agent") {
				t.Errorf("got %v", err)
			}
		})
	}
}
