package sshconfig

import (
	"slices"
	"strings"
)

// hostKeyAlgorithms are all of OpenSSH's that it does not count as obsolete, in the
// order in which its patterns find them (sshkey.c).
var hostKeyAlgorithms = []string{
	"ssh-ed25519", "ssh-ed25519-cert-v01@openssh.com",
	"sk-ssh-ed25519@openssh.com", "sk-ssh-ed25519-cert-v01@openssh.com",
	"ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256-cert-v01@openssh.com",
	"ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384-cert-v01@openssh.com",
	"ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521-cert-v01@openssh.com",
	"sk-ecdsa-sha2-nistp256@openssh.com", "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
	"webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
	"ssh-dss", "ssh-dss-cert-v01@openssh.com",
	"ssh-rsa", "ssh-rsa-cert-v01@openssh.com",
	"rsa-sha2-256", "rsa-sha2-256-cert-v01@openssh.com",
	"rsa-sha2-512", "rsa-sha2-512-cert-v01@openssh.com",
}

// defaultHostKeyAlgorithms are what OpenSSH asks a host for, best first
// (myproposal.h).
var defaultHostKeyAlgorithms = []string{
	"ssh-ed25519-cert-v01@openssh.com",
	"ecdsa-sha2-nistp256-cert-v01@openssh.com", "ecdsa-sha2-nistp384-cert-v01@openssh.com", "ecdsa-sha2-nistp521-cert-v01@openssh.com",
	"sk-ssh-ed25519-cert-v01@openssh.com", "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
	"rsa-sha2-512-cert-v01@openssh.com", "rsa-sha2-256-cert-v01@openssh.com",
	"ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
	"sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com",
	"rsa-sha2-512", "rsa-sha2-256",
}

// defaultCASignatures are those by which OpenSSH lets a certificate be signed.
var defaultCASignatures = []string{
	"ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521",
	"sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com",
	"rsa-sha2-512", "rsa-sha2-256",
}

// caSignatures are the algorithms that may sign a certificate at all.
func caSignatures() []string {
	return slices.DeleteFunc(slices.Clone(hostKeyAlgorithms), func(name string) bool { return strings.Contains(name, "-cert-v01@") })
}

// validAlgorithms reports whether each name or pattern of a list means at least one
// algorithm. What a minus takes away need not exist.
func validAlgorithms(list string, all []string) bool {
	if strings.HasPrefix(list, "-") {
		return true
	}
	if list != "" && (list[0] == '+' || list[0] == '^') {
		list = list[1:]
	}
	if list == "" {
		return false
	}
	for pattern := range strings.SplitSeq(list, ",") {
		if pattern == "" {
			break
		}
		if !slices.ContainsFunc(all, func(name string) bool { return matchesList(name, pattern) != noMatch }) {
			return false
		}
	}
	return true
}

// assemble applies a list to the default one: + appends to it, - takes away from it,
// ^ puts before it, and anything else replaces it. It is false where nothing is left or
// a pattern is negated.
func assemble(list string, defaults, all []string) ([]string, bool) {
	var patterns []string
	switch {
	case list == "":
		return defaults, true
	case list[0] == '-':
		kept := slices.DeleteFunc(slices.Clone(defaults), func(name string) bool { return matchesList(name, list[1:]) == match })
		return kept, true
	case list[0] == '+':
		patterns = append(slices.Clone(defaults), strings.Split(list[1:], ",")...)
	case list[0] == '^':
		patterns = append(strings.Split(list[1:], ","), defaults...)
	default:
		patterns = strings.Split(list, ",")
	}
	var names []string
	for _, pattern := range patterns {
		if strings.HasPrefix(pattern, "!") {
			return nil, false
		}
		for _, name := range all {
			if matches(name, pattern) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names, len(names) > 0
}
