package sshconfig

// keyword is a directive and how it is read. One without a reader is not followed: it
// changes neither where a connection goes nor who is trusted.
type keyword struct {
	name string
	read func(*reading) error
}

// keywords are all directives of ssh_config(5), by their names in lower case.
var keywords map[string]keyword

// Host, Match and Include lead back to the table, which therefore cannot be a
// composite literal.
func init() {
	keywords = map[string]keyword{}
	add := func(read func(*reading) error, names ...string) {
		for _, name := range names {
			keywords[lower(name)] = keyword{name, read}
		}
	}
	add((*reading).host, "Host")
	add((*reading).match, "Match")
	add((*reading).include, "Include")
	add((*reading).oneWord, "HostName", "User", "HostKeyAlias", "BindAddress", "BindInterface", "Tag", "IgnoreUnknown",
		"PKCS11Provider", "SecurityKeyProvider", "RevokedHostKeys", "RefuseConnection")
	add((*reading).flag, "IdentitiesOnly", "ProxyUseFdpass", "NoHostAuthenticationForLocalhost")
	add(choice("inet", "inet6", "any"), "AddressFamily")
	add(choice("yes", "no", "always", "true", "false"), "CanonicalizeHostname")
	add(choice("yes", "no", "ask", "off", "accept-new", "true", "false"), "StrictHostKeyChecking")
	add(choice("yes", "no", "unbound", "host-bound", "true", "false"), "PubkeyAuthentication")
	add(choice("yes", "no", "ask", "true", "false"), "VerifyHostKeyDNS")
	add((*reading).portNumber, "Port")
	add((*reading).time, "ConnectTimeout")
	add((*reading).number, "RequiredRSASize")
	add((*reading).command, "ProxyCommand", "KnownHostsCommand")
	add((*reading).jump, "ProxyJump")
	add((*reading).severalWords, "UserKnownHostsFile", "GlobalKnownHostsFile", "CanonicalizePermittedCNAMEs")
	add((*reading).keyFile, "IdentityFile", "CertificateFile")
	add((*reading).agent, "IdentityAgent")
	add(algorithms(hostKeyAlgorithms), "HostKeyAlgorithms")
	add(algorithms(caSignatures()), "CASignatureAlgorithms")
	// Older names of the above.
	keywords["identityfile2"] = keywords["identityfile"]
	keywords["smartcarddevice"] = keywords["pkcs11provider"]
	keywords["dsaauthentication"] = keywords["pubkeyauthentication"]

	// How a session looks, what it forwards, how its login is done beside keys, and how
	// it is encrypted: nothing that hdeploy does, or has better.
	add(nil, "AddKeysToAgent", "BatchMode", "CanonicalDomains", "CanonicalizeFallbackLocal", "CanonicalizeMaxDots", "ChannelTimeout",
		"CheckHostIP", "Ciphers", "ClearAllForwardings", "Compression", "ConnectionAttempts", "ControlMaster", "ControlPath",
		"ControlPersist", "DynamicForward", "EnableEscapeCommandline", "EnableSSHKeysign", "EscapeChar", "ExitOnForwardFailure",
		"FingerprintHash", "ForkAfterAuthentication", "ForwardAgent", "ForwardX11", "ForwardX11Timeout", "ForwardX11Trusted",
		"GatewayPorts", "GSSAPIAuthentication", "GSSAPIDelegateCredentials", "HashKnownHosts", "HostbasedAcceptedAlgorithms",
		"HostbasedAuthentication", "HostbasedKeyTypes", "IPQoS", "KbdInteractiveAuthentication", "ChallengeResponseAuthentication",
		"SkeyAuthentication", "TISAuthentication", "KbdInteractiveDevices", "KexAlgorithms", "LocalCommand", "LocalForward",
		"LogLevel", "LogVerbose", "MACs", "NumberOfPasswordPrompts", "ObscureKeystrokeTiming",
		"PasswordAuthentication", "PermitLocalCommand", "PermitRemoteOpen", "PreferredAuthentications", "PubkeyAcceptedAlgorithms",
		"PubkeyAcceptedKeyTypes", "RekeyLimit", "RemoteCommand", "RemoteForward", "RequestTTY", "SendEnv", "ServerAliveCountMax",
		"ServerAliveInterval", "SessionType", "SetEnv", "StdinNull", "StreamLocalBindMask", "StreamLocalBindUnlink", "SyslogFacility",
		"TCPKeepAlive", "KeepAlive", "Tunnel", "TunnelDevice", "UpdateHostKeys", "VersionAddendum", "VisualHostKey",
		"WarnWeakCrypto", "XAuthLocation")
	// What OpenSSH has forgotten, and passes over as well.
	add(nil, "AFSTokenPassing", "Cipher", "CompressionLevel", "FallBackToRsh", "GlobalKnownHostsFile2", "KerberosAuthentication",
		"KerberosTGTPassing", "Protocol", "RhostsAuthentication", "RhostsRSAAuthentication", "RSAAuthentication",
		"UsePrivilegedPort", "UserKnownHostsFile2", "UseRoaming", "UseRsh")
	// What Debian, Fedora and macOS have added.
	add(nil, "GSSAPIClientIdentity", "GSSAPIKexAlgorithms", "GSSAPIKeyExchange", "GSSAPIRenewalForcesRekey", "GSSAPIServerIdentity",
		"GSSAPITrustDns", "UseKeychain")
}
