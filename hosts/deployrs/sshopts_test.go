package deployrs

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode"
)

func TestSSHOptions(t *testing.T) {
	for _, test := range []struct {
		arguments []string
		options   string
		ignored   string
		faults    []string
	}{
		{arguments: nil},
		{arguments: []string{"-p", "2221"}, options: "Port=2221"},
		{arguments: []string{"-p2221"}, options: "Port=2221"},
		{arguments: []string{"-p 2221"}, options: "Port=2221"},
		{arguments: []string{"-p", "1", "-p", "2", "-o", "Port=3"}, options: "Port=1"},
		{arguments: []string{"-oPort=3", "-p", "1"}, options: "Port=3"},
		{arguments: []string{"-i", "~/.ssh/a", "-i", "b"}, options: "IdentityFile=~/.ssh/a IdentityFile=b"},
		{arguments: []string{"-i", "a b"}, options: `IdentityFile="a b"`},
		{arguments: []string{"-J", "a,b:22", "-l", "me"}, options: "ProxyJump=a,b:22 User=me"},
		{arguments: []string{"-4", "-6"}, options: "AddressFamily=inet"},
		{arguments: []string{"-46A"}, options: "AddressFamily=inet", ignored: "-A"},
		{arguments: []string{"-Cp", "22"}, options: "Port=22", ignored: "-C"},
		{arguments: []string{"-o", "HostName=a"}, options: "HostName=a"},
		{arguments: []string{"-o", "HostName a"}, options: "HostName=a"},
		{arguments: []string{"-o", "HostName = a"}, options: "HostName=a"},
		{arguments: []string{"-o HostName=a"}, options: "HostName=a"},
		{arguments: []string{"-oHostName=\"a b\""}, options: `HostName="a b"`},
		{arguments: []string{"-o", "ProxyCommand=nc -X connect %h %p"}, options: "ProxyCommand=nc -X connect %h %p"},
		{arguments: []string{"-o", `ProxyCommand="a" "b"`}, options: `ProxyCommand="a" "b"`},
		{arguments: []string{"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"},
			ignored: "StrictHostKeyChecking=no UserKnownHostsFile=/dev/null"},
		{arguments: []string{"-o", "UserKnownHostsFile=/a"}, options: "UserKnownHostsFile=/a"},
		{arguments: []string{"-q", "-vvv", "-S", "none", "-T"}, ignored: "-q -v -v -v -S -T"},
		{arguments: []string{"", "  "}},
		{arguments: []string{"-F", "/a", "-F", "/b"}},
		{arguments: []string{"-p"}, faults: []string{"-p lacks its value"}},
		{arguments: []string{"-o"}, faults: []string{"-o lacks its value"}},
		{arguments: []string{"-o", "Port"}, faults: []string{"no value"}},
		{arguments: []string{"-o", "=a"}, faults: []string{"no value"}},
		{arguments: []string{"-o", "Por-t=1"}, faults: []string{"no directive"}},
		{arguments: []string{"-o", "Port="}, faults: []string{"no directive with a value"}},
		{arguments: []string{"-L", "1:a:2", "-N", "-f"}, ignored: "-N", faults: []string{"-L cannot", "-f cannot"}},
		{arguments: []string{"-Z"}, faults: []string{"no option -Z"}},
		{arguments: []string{"--port", "1"}, faults: []string{`"--port" is no option`, `"1" is no option`}},
		{arguments: []string{"host"}, faults: []string{`"host" is no option`}},
		{arguments: []string{"-"}, faults: []string{`"-" is no option`}},
		{arguments: []string{"-p", "1\x1b[31m"}, faults: []string{"cannot be read"}},
		{arguments: []string{"-\x01"}, faults: []string{"control characters"}},
		{arguments: []string{"-o", "A=" + strings.Repeat("b", mostOptionBytes)}, faults: []string{"cannot be read"}},
		{arguments: make([]string, mostOptions+1), faults: []string{"more than 256"}},
	} {
		t.Run(fmt.Sprintf("%.60q", test.arguments), func(t *testing.T) {
			got, faults := ParseSSHOptions(test.arguments)
			var options []string
			for _, o := range got.Options {
				options = append(options, o.Name+"="+o.Value)
			}
			if said := strings.Join(options, " "); said != test.options {
				t.Errorf("options %q, want %q", said, test.options)
			}
			if said := strings.Join(got.Ignored, " "); said != test.ignored {
				t.Errorf("ignored %q, want %q", said, test.ignored)
			}
			if len(faults) != len(test.faults) {
				t.Fatalf("faults %v, want %q", faults, test.faults)
			}
			for i, fault := range faults {
				if !strings.Contains(fault.Error(), test.faults[i]) {
					t.Errorf("fault %v, want %q", fault, test.faults[i])
				}
			}
		})
	}
}

// FuzzSSHOptions holds that whatever a flake says is either an option, ignored or
// refused, that nothing of it can move a terminal's cursor, and that an argument split
// from its letter means what it means in one word.
func FuzzSSHOptions(f *testing.F) {
	for _, seed := range []string{"-p\n22", "-o\nUser=a b", "-4C\n-i\n~/x", "-oPort=3\n-J\na@b:1,c", "-\n--\n-Z", "-o\n\"A\"=b", "-F\n/x\n-F"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, joined string) {
		arguments := strings.Split(joined, "\n")
		got, faults := ParseSSHOptions(arguments)
		for _, o := range got.Options {
			if o.Name == "" || o.Value == "" || strings.ContainsFunc(o.Name+o.Value, unicode.IsControl) {
				t.Errorf("option %q = %q", o.Name, o.Value)
			}
		}
		for _, fault := range faults {
			if strings.ContainsFunc(fault.Error(), unicode.IsControl) {
				t.Errorf("fault %q", fault)
			}
		}
		if len(faults) > 0 {
			return
		}
		again, faults := ParseSSHOptions(got.written())
		if len(faults) > 0 || !reflect.DeepEqual(again.Options, got.Options) || again.ConfigFile != got.ConfigFile {
			t.Errorf("written again, %q is %+v and not %+v: %v", arguments, again, got, faults)
		}
	})
}

// written are arguments of ssh that mean the same.
func (o SSHOptions) written() []string {
	var arguments []string
	for _, option := range o.Options {
		arguments = append(arguments, "-o", option.Name+"="+option.Value)
	}
	if o.ConfigFile != "" {
		arguments = append(arguments, "-F", o.ConfigFile)
	}
	return arguments
}
