package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/deploy/display"
	"github.com/hbohlen/hdeploy/deploy/event"
)

// defaultSecret is the name that hercules-ci-effects gives to the key of its own
// deployments.
const defaultSecret = "ssh"

func effectCommand(s streams) *cli.Command {
	return newCommand(commandSpec{
		name: "effect", args: "HOST",
		usage: "switch one host to a closure from within an effect of Hercules CI",
		about: "Does what switch --closure does, with nothing but what the sandbox of an effect has:\n" +
			"logs in with data.privateKey of the secret NAME in the file that\n" +
			"$HERCULES_CI_SECRETS_JSON names, never writes that key to a disk, believes the host\n" +
			"keys of deploy.toml and data.knownHosts alone, asks nobody anything, and writes plain\n" +
			"lines, of which the last is a summary in JSON.",
		example: "hdeploy effect web1 --closure ./result --branch main",
		flags: append(closureFlags(),
			&cli.StringFlag{Name: "secret", Usage: "log in with the secret `NAME` of the effect (default: " + defaultSecret + ")"},
			&cli.BoolFlag{Name: "force", Usage: "deploy to a frozen host, and a system that was rejected there before", DisableDefaultText: true},
		),
		action: func(c *cli.Context) error { return runEffect(c, s) },
	})
}

// runEffect deploys, and tells at the very end, in one line, what came of it.
func runEffect(c *cli.Context, s streams) error {
	summary := effectJSON{schemaJSON: schemaOf("effect"), Hosts: []effectHostJSON{}}
	plain := unattended(s)
	err := summary.deploy(c, s, plain)
	code := deploy.CodeOK
	if err != nil {
		f := failureOf(plain, err)
		if code = f.code; !f.told {
			f.print(plain)
			summary.Failure = &f.Failure
		}
	}
	summary.Code = code
	if err := printJSONLines(plain, []effectJSON{summary}); err != nil {
		return err
	}
	return exit(code)
}

// unattended are streams that nobody watches, though an effect's are a terminal: no
// question, no colour, and no line that is written over.
func unattended(s streams) streams {
	s.InTTY, s.OutTTY, s.ErrTTY = false, false, false
	s.Width = func() int { return 0 }
	return s
}

func (j *effectJSON) deploy(c *cli.Context, s, plain streams) error {
	o, err := readEffect(c, plain)
	j.Closure, j.Revision, j.Branch = o.given.Closure, o.given.Revision, o.given.Branch
	if err != nil {
		return err
	}
	o.together = s.OutTTY && s.ErrTTY
	secret, err := readSecret(plain, o)
	if err != nil {
		return err
	}
	private, err := privateFolder(plain)
	if err != nil {
		return err
	}
	defer os.RemoveAll(private)
	request, err := o.request(c.Context, withState(plain, private))
	if err != nil {
		return err
	}
	j.Deployer = effectDeployer(plain, o.given)
	request.Effect, request.Automatic, request.Deployer = true, true, j.Deployer
	request.TempDir, request.NixEnv = private, nixEnvironment(plain, private)
	request.Secrets = secret.Secrets(o.secret)
	return runEngine(c.Context, plain, o.commonOptions, request, engineRun{
		interrupted: "told to end: a host that decides by itself goes on; any other goes back, and is waited for",
		work: func(ctx context.Context, r deploy.Request, _ *stage) (deploy.Report, error) {
			verdicts := listen(&r)
			report, err := deploy.Run(ctx, r)
			j.Hosts = effectHosts(report, verdicts)
			return report, err
		},
	})
}

// effectOptions are those of the command.
type effectOptions struct {
	switchOptions
	secret string
}

func readEffect(c *cli.Context, s streams) (effectOptions, error) {
	o := effectOptions{secret: cmp.Or(c.String("secret"), defaultSecret)}
	if !c.IsSet("closure") {
		return o, usageFailure("effect needs --closure: nothing is evaluated or built in an effect", "hdeploy effect HOST --closure PATH")
	}
	var err error
	if o.switchOptions, err = readSwitch(c, s); err != nil {
		return o, err
	}
	o.deployment = deployments[0]
	o.color = false
	switch o.output {
	case display.Auto:
		o.output = display.Plain
	case display.Terminal:
		return o, usageFailure("an effect has no live display: its output is a log", "hdeploy effect HOST --closure "+o.given.Closure+" --output plain")
	case display.Plain, display.JSON, display.Quiet:
	}
	return o, nil
}

// readSecret reads the key to log in with, which stays in memory.
func readSecret(s streams, o effectOptions) (deploy.EffectSecret, error) {
	fail := func(next, format string, args ...any) (deploy.EffectSecret, error) {
		f := usageFailure(fmt.Sprintf(format, args...), next)
		f.Step = "secrets"
		return deploy.EffectSecret{}, f
	}
	path := s.env(deploy.SecretsVariable)
	if path == "" {
		return fail(deploy.SecretsVariable+"=FILE hdeploy effect HOST --closure "+o.given.Closure,
			"%s is not set: Hercules CI sets it in an effect that has a secretsMap, and anybody else names a file {%q:{\"kind\":\"Secret\",\"data\":{\"privateKey\":\"...\"}}}", deploy.SecretsVariable, o.secret)
	}
	secret, err := deploy.ReadEffectSecret(absoluteFile(s, path), o.secret)
	if err != nil {
		return fail("put secretsMap."+o.secret+" into the effect, or name another secret: hdeploy effect HOST --closure "+o.given.Closure+" --secret NAME",
			"read %s: %v", display.Clean(path), err)
	}
	return secret, nil
}

// privateFolder makes a folder that nobody else may enter, wherever there is a place
// for one: a sandbox may lack TMPDIR, /tmp, or a home.
func privateFolder(s streams) (string, error) {
	var last error
	for _, place := range []string{s.env("TMPDIR"), s.env("NIX_BUILD_TOP"), "/tmp", "/build", s.Dir} {
		if !filepath.IsAbs(place) {
			continue
		}
		folder, err := os.MkdirTemp(place, "hdeploy-")
		if err == nil {
			return folder, nil
		}
		last = err
	}
	return "", usageFailure(fmt.Sprintf("there is no folder to write to: %v", last), "export TMPDIR=FOLDER")
}

// withState keeps what hdeploy keeps on a machine in a folder that ends with the effect.
func withState(s streams, private string) streams {
	env := s.Env
	s.Env = func(name string) (string, bool) {
		if name == "XDG_STATE_HOME" {
			return private, true
		}
		return env(name)
	}
	return s
}

// nixEnvironment is what Nix needs where there may be no home, no list of users, and no
// store that this process could write to.
func nixEnvironment(s streams, private string) []string {
	env := []string{"HOME=" + private, "TMPDIR=" + private,
		"XDG_CACHE_HOME=" + private, "XDG_CONFIG_HOME=" + private, "XDG_DATA_HOME=" + private, "XDG_STATE_HOME=" + private}
	if s.env("NIX_REMOTE") == "" && s.env("IN_HERCULES_CI_EFFECT") != "" {
		env = append(env, "NIX_REMOTE=daemon")
	}
	return env
}

// effectDeployer names who deploys, for the host's record: a claim, as everywhere.
func effectDeployer(s streams, g given) string {
	const longest = 160
	project := s.env("HERCULES_CI_PROJECT_PATH")
	if project == "" && s.env("IN_HERCULES_CI_EFFECT") == "" {
		return deployer(s)
	}
	name := strings.Join(strings.Fields("hercules-ci "+display.Clean(project)), " ")
	at := strings.TrimPrefix(g.Branch+"@"+g.Revision[:min(len(g.Revision), 12)], "@")
	if at = strings.TrimSuffix(at, "@"); at != "" {
		name += " " + at
	}
	if runes := []rune(name); len(runes) > longest {
		name = string(runes[:longest])
	}
	return name
}

// effectJSON is the last line of "hdeploy effect".
type effectJSON struct {
	schemaJSON
	Code     int    `json:"code"`
	Closure  string `json:"closure,omitempty"`
	Revision string `json:"revision,omitempty"`
	Branch   string `json:"branch,omitempty"`
	Deployer string `json:"deployer,omitempty"`
	// Hosts is empty where the run ended before any host had an outcome.
	Hosts   []effectHostJSON `json:"hosts"`
	Failure *event.Failure   `json:"failure,omitempty"`
}

// effectHostJSON is an outcome with its host.
type effectHostJSON struct {
	Host string `json:"host"`
	event.Outcome
}

// verdicts are those of all probes, by host.
type verdicts struct {
	mu     sync.Mutex
	byHost map[string][]event.Probe
}

// listen keeps the verdicts that a run tells.
func listen(r *deploy.Request) *verdicts {
	v := &verdicts{byHost: map[string][]event.Probe{}}
	tell := r.Events
	r.Events = func(e event.Event) {
		if e.Probe != nil {
			v.mu.Lock()
			v.byHost[e.Host] = append(v.byHost[e.Host], *e.Probe)
			v.mu.Unlock()
		}
		tell(e)
	}
	return v
}

func effectHosts(report deploy.Report, v *verdicts) []effectHostJSON {
	hosts := []effectHostJSON{}
	for _, o := range report.Outcomes {
		o.Probes = v.byHost[o.Host]
		hosts = append(hosts, effectHostJSON{Host: o.Host, Outcome: o.Outcome})
	}
	return hosts
}
