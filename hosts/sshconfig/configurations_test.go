package sshconfig

import (
	"strconv"
	"strings"
)

func portText(port int) string { return strconv.Itoa(port) }

func option(directive, value string) Option {
	return Option{Directive: directive, Value: value, Source: Source{File: "options"}}
}

// configurations are what the parser is compared with the installed ssh by.
var configurations = []configuration{
	{name: "nothing", host: "web1"},
	{name: "comments and empty lines", host: "web1", text: "# first\n\n   # second\n\t\nHost web1 # the web\n  User alice # and not bob\n"},
	{name: "host name, port and user", host: "web1", text: "Host web1\n  HostName web1.example.org\n  Port 2222\n  User deploy\n"},
	{name: "keywords know no case", host: "web1", text: "hOsT web1\n  HOSTNAME web1.example.org\n  pOrT 2222\n"},
	{name: "equals signs", host: "web1", text: "Host=web1\nHostName = a.example.org\nPort=\t2222\nUser =deploy\n"},
	{name: "several equals signs", host: "web1", text: "Port ==22\n", fails: true},
	{name: "the first value stays", host: "web1", text: "Host web*\n  User one\nHost web1\n  User two\n  Port 23\nHost *\n  User three\n  Port 24\n"},
	{name: "before the first block", host: "web1", text: "User early\nHost web1\n  User late\n"},
	{name: "quotes", host: "web1", text: "Host \"web1\"\n  User \"two words\"\n  IdentityFile \"~/.ssh/my key\"\n  HostKeyAlias 'single'\n"},
	{name: "escapes", host: "web1", text: `IdentityFile ~/.ssh/my\ key` + "\n" + `IdentityFile "~/.ssh/a \"b\" c"` + "\n" + `IdentityFile ~/.ssh/back\\slash\n` + "\n"},
	{name: "a quoted keyword", host: "web1", text: "\"User\" alice\nPo\"rt\" 2222\n"},
	{name: "a line that is one open quote", host: "web1", text: "\"User alice\nPort 2222\n"},
	{name: "an open quote", host: "web1", text: "User \"alice\n", fails: true},
	{name: "an open quote elsewhere", host: "web1", text: "Host other\n  User \"alice\n", fails: true},
	{name: "a number sign in a word", host: "web1", text: "User al#ice\nHostKeyAlias a #b\n"},
	{name: "too many arguments", host: "web1", text: "User alice bob\n", fails: true},
	{name: "no argument", host: "web1", text: "User\n", fails: true},
	{name: "an empty argument", host: "web1", text: "User \"\"\n", fails: true},
	{name: "an unknown directive", host: "web1", text: "Userr alice\n", fails: true},
	{name: "an unknown directive in a block that does not apply", host: "web1", text: "Host other\n  Userr alice\n", fails: true},
	{name: "ignored unknown directives", host: "web1", text: "IgnoreUnknown User?,UseMy*\nUserr x\nUseMyThing y z\nUser alice\n"},
	{name: "unknown directives ignored too late", host: "web1", text: "Userr x\nIgnoreUnknown Userr\n", fails: true},
	{name: "carriage returns", host: "web1", text: "Host web1\r\n  User alice\r\n  Port 2222\r\n"},
	{name: "form feed at the end", host: "web1", text: "User alice\f\nPort 2222 \f \n"},
	{name: "no newline at the end", host: "web1", text: "Host web1\n\tPort 2222"},

	{name: "wildcards", host: "web12", text: "Host web?\n  User one\nHost web??\n  User two\nHost *12\n  Port 2222\n"},
	{name: "wildcards in a row", host: "aaab", text: "Host *a*?*b\n  User one\nHost a***b?\n  User two\n"},
	{name: "negation", host: "web1", text: "Host * !web1\n  User one\nHost !web2 web*\n  User two\n"},
	{name: "negation alone", host: "web1", text: "Host !web2\n  User one\nHost *\n  User two\n"},
	{name: "case of the pattern", host: "WEB1", text: "Host web1\n  User one\nHost WEB1\n  User two\n"},
	{name: "patterns meet the name that was asked for", host: "web1", text: "Host web1\n  HostName a.example.org\nHost a.example.org\n  User alice\n"},
	{name: "a token in HostName", host: "web1", text: "HostName %h.example.org\n"},
	{name: "a percent sign in HostName", host: "web1", text: "HostName a%%b\n"},
	{name: "an unknown token in HostName", host: "web1", text: "HostName %p.example.org\n", fails: true},
	{name: "HostName in capitals", host: "Web1", text: "HostName %h.Example.ORG\n"},
	{name: "IPv6", host: "2001:DB8::0:1", text: "Host 2001:*\n  Port 2222\n"},
	{name: "IPv6 as HostName", host: "web1", text: "HostName 2001:DB8:0:0::1\n"},
	{name: "IPv4", host: "192.0.2.1", text: "Host 192.0.2.*\n  User alice\n"},

	{name: "match host", host: "web1", text: "Match host web1,web2\n  User alice\nMatch host WEB*\n  Port 2222\n"},
	{name: "match host meets HostName", host: "web1", text: "Host web1\n  HostName a.example.org\nMatch host a.example.org\n  User alice\nMatch host web1\n  Port 2222\n"},
	{name: "match originalhost", host: "web1", text: "HostName a.example.org\nMatch originalhost web1\n  User alice\nMatch originalhost a.*\n  Port 2222\n"},
	{name: "match negated", host: "web1", text: "Match !host web2\n  User alice\nMatch host !web1,*\n  Port 2222\nMatch host *,!db*\n  Port 2223\n"},
	{name: "match user", host: "web1", user: "alice", text: "Match user alice\n  Port 2222\nMatch user bob\n  Port 2223\n"},
	{name: "match a user who was said before", host: "web1", text: "Host web1\n  User bob\nMatch user bob,carol host web*\n  Port 2223\n"},
	{name: "match several", host: "web1", text: "Match host web* originalhost *1\n  Port 2222\nMatch host web* originalhost *2\n  User alice\n"},
	{name: "match all", host: "web1", text: "Host other\n  Port 22\nMatch all\n  User alice\n"},
	{name: "match not all", host: "web1", text: "Match !all\n  User alice\n"},
	{name: "match all and more", host: "web1", text: "Match all host web1\n  User alice\n", fails: true},
	{name: "match nothing", host: "web1", text: "Match # nothing\n  User alice\n", fails: true},
	{name: "match what does not exist", host: "web1", text: "Match planet mars\n  User alice\n", fails: true},
	{name: "match without an argument", host: "web1", text: "Match host\n  User alice\n", fails: true},
	{name: "match final", host: "web1", text: "Match final\n  User late\n  Port 2222\nHost web1\n  Port 2223\n"},
	{name: "match final all", host: "web1", text: "Match final all\n  User late\nHost web1\n  HostName a.example.org\n"},
	{name: "the final pass meets the address", host: "web1", text: "Match final\n  Port 2222\nHost a.example.org\n  User alice\nHost web1\n  HostName A.example.org\n"},
	{name: "the final pass collects keys again", host: "web1", text: "Match final\n  IdentityFile ~/.ssh/final\nHost *\n  IdentityFile ~/.ssh/always\nHost *.org\n  IdentityFile ~/.ssh/org\nHost web1\n  HostName a.org\n"},
	{name: "match canonical", host: "web1", text: "Match canonical\n  User alice\nMatch !canonical\n  Port 2222\n"},
	{name: "match exec", host: "web1", text: "Match exec \"test %n = web1\"\n  User alice\nMatch exec false\n  Port 2222\nMatch !exec false\n  HostKeyAlias a\n"},
	{name: "match exec with tokens", host: "web1", text: "HostName a.%h\nPort 2222\nUser bob\nMatch exec \"test %h,%p,%r,%k = a.web1,2222,bob,a.web1\"\n  HostKeyAlias b\nMatch exec \"test %k = b\"\n  BindAddress 127.0.0.1\n"},
	{name: "match exec behind what does not hold", host: "web1", text: "Match host other exec \"touch @HOME@/ran\"\n  User alice\nMatch exec \"test -e @HOME@/ran\"\n  Port 2222\n"},
	{name: "match with an equals sign", host: "web1", text: "Match host=web1 user=nobody\n  Port 2222\nMatch host=web1\n  Port 2223\n"},

	{name: "include", host: "web1", files: map[string]string{"more": "Host web1\n  User alice\n"}, text: "Include @HOME@/more\n"},
	{name: "include below ~/.ssh", host: "web1", files: map[string]string{".ssh/more": "User alice\n"}, text: "Include more\n"},
	{name: "include with a tilde", host: "web1", files: map[string]string{"more": "User alice\n"}, text: "Include ~/more\n"},
	{name: "include several", host: "web1", files: map[string]string{"a": "User alice\n", "b": "User bob\nPort 2222\n"}, text: "Include ~/b ~/a\n"},
	{name: "include by pattern", host: "web1", files: map[string]string{".ssh/conf.d/20": "User bob\n", ".ssh/conf.d/10": "User alice\n", ".ssh/conf.d/.00": "User hidden\n", ".ssh/conf.d/sub/x": "Port 2222\n"}, text: "Include conf.d/*\n"},
	{name: "include by a class", host: "web1", files: map[string]string{"a1": "User alice\n", "b1": "Port 2222\n", "c1": "Port 2223\n"}, text: "Include ~/[!ab]1 ~/[a-b]?\n"},
	{name: "include nothing", host: "web1", text: "Include ~/absent ~/none*\nUser alice\n"},
	{name: "include in a block", host: "web1", files: map[string]string{"more": "User alice\nHost web1\n  Port 2222\nHost other\n  Port 2223\n"}, text: "Host web1\n  Include ~/more\n  HostKeyAlias still\n"},
	{name: "include in a block that does not apply", host: "web1", files: map[string]string{"more": "User alice\nHost web1\n  Port 2222\nMatch all\n  HostKeyAlias never\n"}, text: "Host other\n  Include ~/more\nHost web1\n  BindAddress 127.0.0.1\n"},
	{name: "include within include", host: "web1", files: map[string]string{"a": "Include ~/b\nHost web1\n  User alice\n", "b": "Host other\n  User bob\n"}, text: "Include ~/a\nHost *\n  Port 2222\n"},
	{name: "include of itself", host: "web1", text: "Include ~/ssh_config\n", fails: true},
	{name: "a bad line in an included file", host: "web1", files: map[string]string{"more": "Port none\n"}, text: "Host other\n  Include ~/more\n", fails: true},

	{name: "keys accumulate", host: "web1", text: "IdentityFile ~/.ssh/a\nHost web*\n  IdentityFile ~/.ssh/b\n  IdentityFile ~/.ssh/a\nHost other\n  IdentityFile ~/.ssh/c\nMatch all\n  CertificateFile ~/.ssh/a-cert.pub\n  CertificateFile ~/.ssh/b-cert.pub\n"},
	{name: "no key", host: "web1", text: "IdentityFile none\nIdentitiesOnly yes\n"},
	{name: "identities only in several words", host: "web1", text: "IdentitiesOnly TRUE\n"},
	{name: "a flag that is none", host: "web1", text: "IdentitiesOnly maybe\n", fails: true},
	{name: "agents", host: "web1", text: "IdentityAgent ~/agent-%r-%p-${HDEPLOY_PLACE}\nPort 2222\n"},
	{name: "no agent", host: "web1", text: "IdentityAgent none\n"},
	{name: "the agent of the environment", host: "web1", text: "IdentityAgent SSH_AUTH_SOCK\n"},
	{name: "the agent of a variable", host: "web1", text: "IdentityAgent $HDEPLOY_PLACE\n"},
	{name: "the agent of no variable", host: "web1", text: "IdentityAgent $HDEPLOY-PLACE\n", fails: true},
	{name: "an agent of a variable that is not set", host: "web1", text: "IdentityAgent ${HDEPLOY_ABSENT}\n", fails: true},

	{name: "jump", host: "web1", text: "ProxyJump bastion\n"},
	{name: "jump over several", host: "web1", text: "ProxyJump alice@one:2222,two,ssh://bob@three:23\n"},
	{name: "jump over addresses", host: "web1", text: "ProxyJump alice@[2001:db8::1]:2222\n"},
	{name: "no jump", host: "web1", text: "Host web1\n  ProxyJump none\nHost *\n  ProxyJump bastion\n"},
	{name: "neither jump nor command", host: "web1", text: "Host web1\n  ProxyCommand none\n  ProxyJump none\nHost *\n  ProxyJump bastion\n  ProxyCommand nc %h %p\n"},
	{name: "a jump to itself", host: "web1", text: "HostName One\nPort 23\nUser bob\nProxyJump one:23\n", fails: true},
	{name: "a jump to itself as somebody else", host: "web1", text: "HostName one\nUser bob\nProxyJump alice@one\n"},
	{name: "a jump that is none", host: "web1", text: "ProxyJump alice@\n", fails: true},
	{name: "a jump that is none, in a block that does not apply", host: "web1", text: "Host other\n  ProxyJump one,:22\n", fails: true},
	{name: "a jump before a command", host: "web1", text: "ProxyJump bastion\nProxyCommand nc %h %p\n"},
	{name: "a command before a jump", host: "web1", text: "ProxyCommand nc %h %p\nProxyJump bastion\n"},
	{name: "no command before a jump", host: "web1", text: "ProxyCommand none\nProxyJump bastion\n"},
	{name: "a command with quotes", host: "web1", text: "ProxyCommand sh -c \"nc '%h' %p # no comment\"   \n"},
	{name: "a command with an equals sign", host: "web1", text: "ProxyCommand=nc -x=y %h %p\n"},
	{name: "what a command is told", host: "web1", connects: true, text: "HostName a.example.org\nUser alice\nPort 2222\nHostKeyAlias Alias\nProxyCommand false %h %p %r %n %k %% x\n"},
	{name: "what keys are called", host: "web1", connects: true, text: "HostName a.example.org\nUser alice\nPort 2222\nProxyCommand false\nIdentityFile ~/.ssh/%h-%p-%r-%n-%u-%i-%l-%L-%k-%%\nIdentityFile %d/.ssh/${HDEPLOY_PLACE}/%C\nCertificateFile ~/.ssh/%h-cert.pub\n"},
	{name: "no keys when it connects", host: "web1", connects: true, text: "ProxyCommand false\nIdentityFile none\n"},

	{name: "algorithms", host: "web1", text: "HostKeyAlgorithms ssh-ed25519,rsa-sha2-512\n"},
	{name: "more algorithms", host: "web1", text: "HostKeyAlgorithms +ssh-rsa,ssh-rsa-cert-v01@openssh.com\nCASignatureAlgorithms +ssh-rsa\n"},
	{name: "fewer algorithms", host: "web1", text: "HostKeyAlgorithms -*-cert-v01@openssh.com,ecdsa-*\nCASignatureAlgorithms -ecdsa*\n"},
	{name: "algorithms first", host: "web1", text: "HostKeyAlgorithms ^rsa-sha2-256,ssh-ed25519\n"},
	{name: "algorithms by pattern", host: "web1", text: "HostKeyAlgorithms ecdsa-sha2-*,ssh-ed2*\n"},
	{name: "an algorithm that does not exist", host: "web1", text: "HostKeyAlgorithms ssh-rot13\n", fails: true},
	{name: "known hosts", host: "web1", text: "UserKnownHostsFile ~/.ssh/a ~/.ssh/%h-%r ${HDEPLOY_PLACE}/c\nGlobalKnownHostsFile /etc/a \"/etc/b c\"\n"},
	{name: "no known hosts", host: "web1", text: "UserKnownHostsFile none\nGlobalKnownHostsFile none\n"},
	{name: "no known hosts beside some", host: "web1", text: "UserKnownHostsFile a none\n", fails: true},
	{name: "known hosts command", host: "web1", text: "KnownHostsCommand /usr/bin/keys \"%H\" %t %h\n"},
	{name: "alias", host: "web1", text: "HostKeyAlias Some.Alias\n"},
	{name: "careless", host: "web1", text: "StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nVerifyHostKeyDNS ask\nCheckHostIP no\n"},
	{name: "addresses", host: "web1", text: "AddressFamily Inet6\nBindAddress ::1\nConnectTimeout 1m30\n"},
	{name: "no timeout", host: "web1", text: "ConnectTimeout none\n"},
	{name: "a timeout that is none", host: "web1", text: "ConnectTimeout soon\n", fails: true},
	{name: "the name of a port", host: "web1", text: "Port https\n"},
	{name: "port 0", host: "web1", text: "Port 0\n", fails: true},
	{name: "a port too large", host: "web1", text: "Port 65536\n", fails: true},
	{name: "what hdeploy refuses", host: "web1", text: "PKCS11Provider /lib/p11.so\nSecurityKeyProvider /lib/sk.so\nRevokedHostKeys /etc/revoked\nBindInterface lo\nProxyUseFdpass yes\nPubkeyAuthentication no\nRequiredRSASize 2048\n"},
	{name: "what hdeploy does not follow", host: "web1", text: "ControlMaster auto\nControlPath ~/.ssh/%C\nControlPersist 10m\nForwardAgent yes\nLocalForward 8080 localhost:80\nSendEnv LANG LC_*\nServerAliveInterval 30\nCompression yes\nPreferredAuthentications publickey\n"},
	{name: "what is forgotten", host: "web1", text: "Protocol 2\nUseRoaming no\nRhostsRSAAuthentication no\nUser alice\n"},

	{name: "options come first", host: "web1", options: []Option{option("User", "first"), option("User", "second"), option("Port", "2222")}, text: "User file\nPort 2223\nBindAddress 127.0.0.1\n"},
	{name: "options add keys", host: "web1", options: []Option{option("IdentityFile", "~/.ssh/option"), option("IdentitiesOnly", "yes")}, text: "IdentityFile ~/.ssh/file\n"},
	{name: "options before a match", host: "web1", options: []Option{option("HostName", "a.example.org")}, text: "Match host a.example.org\n  User alice\n"},
	{name: "a jump as an option", host: "web1", options: []Option{option("ProxyJump", "one,two")}, text: "ProxyJump three\nProxyCommand nc\n"},
	{name: "an option that is wrong", host: "web1", options: []Option{option("Port", "many")}, fails: true},
	{name: "a block as an option", host: "web1", options: []Option{option("Host", "web1")}, fails: true},
	{name: "user and port", host: "web1", user: "alice", port: 2222, text: "User bob\nPort 2223\nMatch user alice\n  HostKeyAlias a\n"},
	{name: "sixty-four hosts", host: "h40", text: manyHosts()},
}

func manyHosts() string {
	var b strings.Builder
	for i := range 64 {
		n := strconv.Itoa(i)
		b.WriteString("Host h" + n + " h" + n + ".example.org\n  HostName 10.0.0." + n + "\n  Port " + strconv.Itoa(2000+i) + "\n  IdentityFile ~/.ssh/" + n + "\n")
	}
	return b.String() + "Host *\n  User all\n  IdentityFile ~/.ssh/all\n"
}
