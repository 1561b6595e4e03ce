//go:build lab

package tests

import (
	"context"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/lab"
)

// typed is a command as a document shows it, with the output that it shows.
type typed struct {
	section string
	// onHost is whether the prompt is root's on the host, and not the reader's own.
	onHost  bool
	command string
	output  []string
}

// document is what a document has people type.
type document struct {
	commands []typed
	// inText are the commands within paragraphs, which take a host.
	inText []string
}

var inText = regexp.MustCompile("`(hdeploy (?:check|probe) [^`]+)`")

// readDocument reads the blocks of kind console: "$ " is a prompt on the deployer, "# "
// one on the host. What is to be done by hand needs what the lab does not have.
func readDocument(t *testing.T, name string) document {
	t.Helper()
	text, err := os.ReadFile("../../docs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var d document
	section, paragraph, kind, inside, ended := "", "", "", false, false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		fence, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case isFence && inside:
			inside, paragraph = false, ""
		case isFence:
			inside, kind = true, fence
			if byHand := strings.Contains(paragraph, "By hand"); byHand == (kind != "") {
				t.Errorf("%s: %s: what is typed is either of kind console, or to be done by hand: %s", name, section, paragraph)
			}
		case inside && kind == "console":
			d.add(t, section, line)
		case inside:
		case strings.HasPrefix(line, "#"):
			section = strings.TrimLeft(line, "# ")
		case line == "" && !ended:
			ended = true
			continue
		case line != "":
			if ended {
				paragraph = ""
			}
			paragraph += line + " "
		}
		ended = false
	}
	for _, match := range inText.FindAllStringSubmatch(strings.ReplaceAll(string(text), "\n", " "), -1) {
		d.inText = append(d.inText, match[1])
	}
	return d
}

// add takes a line of a block: a prompt with a command, the rest of one, or output.
func (d *document) add(t *testing.T, section, line string) {
	t.Helper()
	last := len(d.commands) - 1
	switch {
	case strings.HasPrefix(line, "$ "), strings.HasPrefix(line, "# "):
		d.commands = append(d.commands, typed{section: section, onHost: line[0] == '#', command: line[2:]})
	case last < 0:
		t.Fatalf("%s: output before the first command: %s", section, line)
	case strings.HasSuffix(d.commands[last].command, "\\") && d.commands[last].output == nil:
		d.commands[last].command += "\n" + line
	default:
		d.commands[last].output = append(d.commands[last].output, line)
	}
}

var placeholder = regexp.MustCompile(`<[a-z][^<>]*>`)

// pattern is what the output must match: a placeholder such as <date> stands for
// something within a line, and a line of three dots for any number of lines.
func (c typed) pattern() *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`^`)
	for _, line := range c.output {
		line = strings.TrimRight(line, " ")
		if strings.TrimSpace(line) == "..." {
			b.WriteString(`(?:.*\n)*?`)
			continue
		}
		rest := line
		for _, at := range placeholder.FindAllString(line, -1) {
			before, after, _ := strings.Cut(rest, at)
			b.WriteString(regexp.QuoteMeta(before) + `.+?`)
			rest = after
		}
		b.WriteString(regexp.QuoteMeta(rest) + `\n`)
	}
	b.WriteString(`$`)
	return regexp.MustCompile(b.String())
}

var trailing = regexp.MustCompile(`(?m)[ \t\r]+$`)

// shown is output as a document shows it: without blanks at the ends of lines.
func shown(output string) string {
	output = strings.Trim(trailing.ReplaceAllString(output, ""), "\n")
	if output == "" {
		return ""
	}
	return output + "\n"
}

// typist types the commands of a document and compares what they print.
type typist struct {
	*site
	// repository is where the reader is: a checkout in the workstation.
	repository string
	// stdin is what the reader types after a command.
	stdin string
	// before is what has to happen before the first command of a section, or before one
	// command, for which it is named "SECTION: COMMAND".
	before map[string]func()
}

func newTypist(t *testing.T) *typist {
	t.Helper()
	s := newSite(t, lab.HostOptions{})
	s.inventory.Probes, s.inventory.Tables = `["onepassword-secrets", "hercules-ci-agent", "no-new-failed-units"]`, ciProbes
	s.write("deploy.toml", s.inventory.String())
	return &typist{site: s, repository: s.repository(), stdin: "ops_lab\n"}
}

// typesAll types what stands in a document, in its order.
func (p *typist) typesAll(d document) {
	p.t.Helper()
	section := ""
	for _, c := range d.commands {
		if first := p.before[c.section]; first != nil && section != c.section {
			first()
		}
		if first := p.before[c.section+": "+c.command]; first != nil {
			first()
		}
		section = c.section
		p.types(c)
	}
}

func (p *typist) types(c typed) {
	p.t.Helper()
	host, dir := workstation, p.repository
	script := c.command
	if c.onHost {
		host, dir = p.host, "/root"
	} else {
		// The keys of the lab's hosts are nobody's.
		script = strings.ReplaceAll(script, "ssh root@"+hostName, "ssh -o LogLevel=ERROR -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null root@"+p.host.Address)
	}
	ctx, cancel := context.WithTimeout(p.t.Context(), 5*time.Minute)
	defer cancel()
	var output, story strings.Builder
	process, err := host.Start(ctx, lab.ExecOptions{
		Dir: dir, Env: []string{"XDG_STATE_HOME=" + p.dir + "/state", "TERM=dumb"},
		Stdin: strings.NewReader(p.stdin), Stdout: &output, Stderr: &story,
	}, "bash", "-c", script)
	if err != nil {
		p.t.Fatal(err)
	}
	code, err := process.Wait()
	if err != nil {
		p.t.Fatal(err)
	}
	if said := shown(output.String()); !c.pattern().MatchString(said) {
		p.t.Errorf("%s: %s\nshould print:\n%s\nand prints (exit code %d):\n%s\nand besides:\n%s", c.section, c.command, strings.Join(c.output, "\n"), code, said, story.String())
	}
}

// repository is a checkout of hdeploy in the workstation whose inputs are the stand-ins,
// so that commands of Nix are typed as they stand in a document.
func (s *site) repository() string {
	s.t.Helper()
	s.inWorkstation(`mkdir repository; cd /repo
		find . -name '*.nix' -not -path './lab/*' -print0 | tar -c --null --files-from - | tar -x -C "$OLDPWD/repository"
		cd "$OLDPWD/repository"
		sed -i "s#github:NixOS/nixpkgs/[a-z-]*#path:$PWD/scripts/stand-in/nixpkgs#; s#github:brizzbuzz/opnix#path:$PWD/scripts/stand-in/opnix#" flake.nix
		nix flake lock 2>&1`)
	return path.Join(s.dir, "repository")
}

// effectSecrets is what an effect needs to log in.
const effectSecrets = `{"hetzner-deploy":{"kind":"Secret","condition":true,"data":{"privateKey":"none"}}}`

func TestEveryCheckOfTheValidationGuideWorks(t *testing.T) {
	p := newTypist(t)
	p.configure(settings{"hercules": settings{}, "opnix": settings{"alias": true, "secrets": settings{"herculesSecretsJson": settings{
		"path": "/var/lib/hercules-ci-agent/secrets/secrets.json", "owner": "hercules-ci-agent", "group": "hercules-ci-agent", "value": effectSecrets,
	}}}})
	p.deploy().require("committed", 0)
	d := readDocument(t, "HERCULES_CI_VALIDATION.md")
	for _, command := range d.inText {
		p.inWorkstation("XDG_STATE_HOME=$PWD/state " + command)
	}
	p.before = map[string]func(){
		"OpNix fetched nothing":                  func() { p.on(": >/etc/opnix-token; systemctl restart opnix-secrets || true") },
		"The files have the wrong owner or mode": func() { p.on("cd /var/lib/hercules-ci-agent; chown root secrets; chmod 644 secrets/*.json") },
	}
	p.typesAll(d)
}

// From a host that was never deployed to, step by step.
func TestTheSetupGuideLeadsFromNothingToAnAgent(t *testing.T) {
	p := newTypist(t)
	p.on(": >/etc/opnix-token; chmod 600 /etc/opnix-token")
	host := settings{"hercules": settings{}, "opnix": settings{"alias": true}}
	p.configure(host)
	p.before = map[string]func(){"7. A key for effects: hdeploy switch " + hostName: func() {
		host["authorizedKeys"] = []string{inShell(t, workstation, "cat "+p.repository+"/deploy-key.pub")}
		p.configure(host)
	}}
	p.typesAll(readDocument(t, "HERCULES_CI_SETUP.md"))
}
