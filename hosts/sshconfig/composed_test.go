package sshconfig

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
)

// composed are configurations put together by chance, always the same ones, unless
// HDEPLOY_COMPOSED asks for more. They hold what nobody thinks of writing down.
func composed() []configuration {
	count := 75
	if more, err := strconv.Atoi(os.Getenv("HDEPLOY_COMPOSED")); err == nil {
		count = more
	}
	chance := rand.New(rand.NewPCG(1, 2))
	var all []configuration
	for i := range count {
		all = append(all, compose(chance, fmt.Sprintf("composed %d", i)))
	}
	return all
}

func compose(chance *rand.Rand, name string) configuration {
	pick := func(words ...string) string { return words[chance.IntN(len(words))] }
	host := func() string { return pick("web1", "web2", "db", "a.example.org", "Web1") }
	pattern := func() string {
		return pick("", "", "!") + pick("*", "web?", "web*", "db", "a.*", "*.org", "web1", "?eb1", "Web1", "*1", "10.0.0.*")
	}
	quoted := func(text string) string { return pick(text, text, `"`+text+`"`, "'"+text+"'") }
	criterion := func() string {
		if chance.IntN(6) == 0 {
			return "final" // that !final asks for a second pass has changed with OpenSSH 10.1
		}
		return pick("", "", "!") + pick("host "+pattern()+","+pattern(), "originalhost "+pattern(), "user "+pick("alice", "b*,!bob", "*"),
			"localuser "+pick("root", "nobody", "*"), "canonical", "exec "+pick("true", "false", `"test %n = `+host()+`"`, `"test %r = bob"`))
	}
	assign := func() string { return pick(" ", " ", "=", " = ", "\t", "= ") }
	directive := func() string {
		said := [][2]string{
			{"HostName", pick("a.example.org", "%h.example.org", "10.0.0.1", "::1", "B.Example.ORG")},
			{"User", quoted(pick("alice", "bob", "carol"))}, {"Port", pick("22", "2222", "https", "65535")},
			{"IdentityFile", quoted(pick("~/.ssh/a", "/k/%r", "~/.ssh/%h", "none", "~/.ssh/b"))}, {"IdentitiesOnly", pick("yes", "no", "TRUE")},
			{"CertificateFile", pick("~/.ssh/a-cert.pub", "/c/%n")}, {"IdentityAgent", pick("none", "SSH_AUTH_SOCK", "~/agent.%h", "$HDEPLOY_PLACE", "${HDEPLOY_PLACE}/%k")},
			{"ProxyJump", pick("one", "bob@one:23,two", "ssh://x@three", "[::2]:22")}, {"ProxyCommand", pick("nc %h %p", "none", `sh -c "x = y"`)},
			{"HostKeyAlias", pick("Alias", "b")}, {"HostKeyAlgorithms", pick("+ssh-rsa", "-ssh-ed25519*", "^rsa-sha2-256", "ssh-ed25519,ecdsa-*")},
			{"UserKnownHostsFile", pick("none", "~/a /b", `"~/a b" %h`, "/dev/null")}, {"GlobalKnownHostsFile", pick("none", "/a /b")},
			{"AddressFamily", pick("any", "inet", "INET6")}, {"BindAddress", pick("127.0.0.1", "::1")}, {"ConnectTimeout", pick("5", "1m", "2h30", "none")},
			{"StrictHostKeyChecking", pick("yes", "no", "ask", "accept-new")}, {"IgnoreUnknown", "Fancy*"}, {"ForwardAgent", "yes"},
			{"KnownHostsCommand", pick("/bin/keys %H", "none")}, {"CASignatureAlgorithms", pick("-rsa*", "ssh-ed25519")}, {"RequiredRSASize", pick("1024", "3072")},
		}
		one := said[chance.IntN(len(said))]
		return pick("", "  ", "\t") + pick(one[0], strings.ToLower(one[0]), strings.ToUpper(one[0])) + assign() + one[1] + pick("", "", " ", "\r")
	}
	var text strings.Builder
	for range 4 + chance.IntN(20) {
		switch chance.IntN(7) {
		case 0:
			text.WriteString("Host" + assign() + pattern() + pick("", " "+pattern(), " "+quoted(pattern())) + pick("", " # comment"))
		case 1:
			text.WriteString("Match " + pick("all", criterion(), criterion()+" "+criterion(), criterion()+" "+criterion()+" "+criterion()))
		case 2:
			text.WriteString(pick("", "# comment", "Include ~/more", "Include ~/m*e ~/absent"))
		default:
			text.WriteString(directive())
		}
		text.WriteString("\n")
	}
	c := configuration{name: name, text: text.String(), host: host()}
	c.files = map[string]string{"more": directive() + "\nHost " + pattern() + "\n" + directive() + "\nMatch " + criterion() + "\n" + directive() + "\n"}
	if chance.IntN(4) == 0 {
		c.user = pick("alice", "bob")
	}
	if chance.IntN(4) == 0 {
		c.options = []Option{option("User", pick("alice", "carol")), option("HostName", "o.example.org")}
	}
	return c
}
