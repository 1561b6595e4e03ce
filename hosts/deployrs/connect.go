package deployrs

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hbohlen/hdeploy/hosts"
	"github.com/hbohlen/hdeploy/hosts/sshconfig"
)

// connect says how a host is reached: as ssh would reach it with sshOpts on its command
// line, and with the user's ssh_config, which deploy-rs's ssh reads, too.
func (r *reader) connect(place string, h *hosts.Host, m merged) {
	options, faults := ParseSSHOptions(m.SSHOpts)
	for _, fault := range faults {
		r.fail(place+".sshOpts", "%v", fault)
	}
	if len(options.Ignored) > 0 {
		r.note("%s.sshOpts: %s: hdeploy has no use for it%s", place, strings.Join(distinct(options.Ignored), ", "), trustHint(options.Ignored, h.Name))
	}
	config, err := r.sshConfig(options.ConfigFile)
	if err == nil {
		q := hosts.Question{Host: *h, Config: config, Says: says(place, m, options), Named: func(string) []hosts.Jump { return nil }}
		r.questions[h.Name] = q
		err = h.Connect(config, q.Says, q.Named)
	}
	var fault *sshconfig.Error
	if errors.As(err, &fault) && fault.File != place+".sshOpts" {
		r.faults = append(r.faults, &hosts.ConfigError{File: clean(fault.File), Line: fault.Line, Message: place + ": " + fault.Text(), Suggestion: fault.Next})
	} else if fault != nil {
		r.fail(fault.File, "%s", fault.Text())
	} else if err != nil {
		r.fail(place, "%v", err)
	}
}

// trustHint says what to do instead of trusting every key.
func trustHint(ignored []string, node string) string {
	careless := func(option string) bool {
		return strings.HasPrefix(strings.ToLower(option), "stricthostkeychecking=") || strings.HasSuffix(option, "=/dev/null")
	}
	if !slices.ContainsFunc(ignored, careless) {
		return ""
	}
	return "; a host key has to be known: hdeploy trust " + node
}

// sshConfig is the user's, or the file of -F.
func (r *reader) sshConfig(file string) (*sshconfig.Config, error) {
	if config := r.configs[file]; config != nil {
		return config, nil
	}
	config, err := hosts.OpenSSHConfig(r.source.NoSSHConfig, expanded(file))
	if err == nil {
		r.configs[file] = config
	}
	return config, err
}

// expanded is the file that a shell would have made of the word.
func expanded(file string) string {
	home, err := os.UserHomeDir()
	if rest, ok := strings.CutPrefix(file, "~/"); ok && err == nil {
		return filepath.Join(home, rest)
	}
	return file
}

// says are the settings that ssh_config cannot change. deploy-rs writes sshUser before
// the host's name, so that it wins over every option.
func says(place string, m merged, options SSHOptions) hosts.Sayings {
	s := hosts.Sayings{Said: func(key string) bool { return key == "user" && m.login != "" }}
	for _, o := range options.Options {
		s.Options = append(s.Options, sshconfig.Option{Directive: o.Name, Value: o.Value, Source: sshconfig.Source{File: place + ".sshOpts"}})
	}
	return s
}
