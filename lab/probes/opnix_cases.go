//go:build lab

package probes

import (
	"maps"
	"slices"
)

// opnixCases are the fault classes of the preset onepassword-secrets, in both versions
// of OpNix where they differ.
var opnixCases = slices.Concat(opnixWellCases, opnixFaultCases, opnixFileCases, opnixUnitCases)

const (
	onePassword = "[probes.onepassword-secrets]\n@secrets@\n"
	secretFile  = "/var/lib/opnix/secrets/appSecret"
)

// opnixOf are knobs of OpNix: pairs of a name and a value.
func opnixOf(pairs ...any) settings {
	knobs := settings{}
	for pair := range slices.Chunk(pairs, 2) {
		knobs[pair[0].(string)] = pair[1]
	}
	return settings{"opnix": knobs}
}

// with adds units to a system.
func (s settings) with(more settings) settings {
	all := maps.Clone(s)
	maps.Copy(all, more)
	return all
}

// secretsOf declares one secret with these properties.
func secretsOf(pairs ...any) settings {
	return settings{"appSecret": opnixOf(pairs...)["opnix"]}
}

// consumer is a service that uses the secret.
func consumer(lines string) settings {
	return settings{"extraUnits": settings{"consumer.service": "[Unit]\nDescription=Uses a secret\n" + lines +
		"\n[Service]\nExecStart=/bin/sleep infinity\n"}}
}

const ordered = "After=opnix-secrets.service\nWants=opnix-secrets.service"

var consumed = opnixOf("secrets", secretsOf("services", []string{"consumer"}))

var opnixWellCases = []probeCase{
	{
		name: "opnix: all is well", system: opnixOf(), probes: onePassword,
		outcome: "committed", want: answer{verdict: "pass", seen: "1 secrets as declared"},
	},
	{
		name: "opnix 0.8.0: all is well", system: opnixOf("version", "0.8.0", "watcher", true), probes: onePassword,
		outcome: "committed", want: answer{verdict: "pass", seen: "1 secrets as declared"},
	},
	{
		name: "opnix 0.11.0: all is well with its watcher", more: true, system: opnixOf("watcher", true), probes: onePassword,
		outcome: "committed", want: answer{verdict: "pass"},
	},
	{
		name: "opnix: a consumer in order", system: consumed.with(consumer(ordered)), probes: onePassword,
		outcome: "committed", want: answer{verdict: "pass"},
	},
	{
		name: "opnix: a consumer that requires it", more: true,
		system: consumed.with(consumer("After=opnix-secrets.service\nRequires=opnix-secrets.service")), probes: onePassword,
		outcome: "committed", want: answer{verdict: "pass"},
	},
	{
		name: "opnix: services as an object, and a link", more: true,
		system: opnixOf("secrets", secretsOf("services", settings{"consumer": settings{"restart": true}}, "symlinks", []string{"/etc/lab/link"})).with(consumer(ordered)),
		probes: onePassword, outcome: "committed", want: answer{verdict: "pass"},
	},
	{
		name: "opnix: the unit does not change", since: opnixOf(), system: opnixOf().with(settings{"managerRevision": "2"}), probes: onePassword,
		outcome: "committed", want: answer{verdict: "pass"},
	},
	{
		name: "opnix: the unit changes and runs again", more: true, since: opnixOf(), system: opnixOf("note", "other"), probes: onePassword,
		outcome: "committed", want: answer{verdict: "pass"},
	},
	{
		name: "opnix: an alias is the unit", more: true, system: opnixOf("alias", true), probes: onePassword,
		outcome: "committed", want: answer{verdict: "pass", seen: "opnix-secrets.service is active/exited"},
	},
	{
		name: "opnix: somebody names the unit that does not exist",
		system: opnixOf().with(settings{"extraUnits": settings{
			"hercules-ci-agent.service": "[Unit]\nAfter=onepassword-secrets.service\n[Service]\nExecStart=/bin/sleep infinity\n"}}),
		probes: onePassword, outcome: "committed",
		want: answer{verdict: "pass", hint: "onepassword-secrets.service"},
	},
}

var opnixFaultCases = []probeCase{
	{
		name: "opnix: the token is missing and it ends well", system: opnixOf().with(settings{"faults": settings{"missingToken": true}}), probes: onePassword,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "no-token", note: "WARNING: Token file", hint: "opnix token set"},
	},
	{
		name: "opnix 0.8.0: the token is missing and it ends well", more: true,
		system: opnixOf("version", "0.8.0").with(settings{"faults": settings{"missingToken": true}}), probes: onePassword,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "no-token", hint: "opnix token set"},
	},
	{
		name: "opnix: the token was missing before", since: opnixOf().with(settings{"faults": settings{"missingToken": true}}),
		system: opnixOf().with(settings{"faults": settings{"missingToken": true}, "managerRevision": "2"}), probes: onePassword,
		outcome: "degraded", want: answer{verdict: "unknown", class: "failed-before", hint: "opnix token set"},
	},
	{
		name: "opnix: the token is empty", system: opnixOf().with(settings{"faults": settings{"emptyToken": true}}), probes: onePassword,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "empty-token", hint: "opnix token set"},
	},
	{
		name: "opnix 0.8.0: the token is empty", more: true,
		system: opnixOf("version", "0.8.0").with(settings{"faults": settings{"emptyToken": true}}), probes: onePassword,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "empty-token", hint: "opnix token set"},
	},
	{
		name: "opnix: 1Password does not accept the token", system: opnixOf("fail", "auth"), probes: onePassword,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "auth", hint: "make a new one in 1Password"},
	},
	{
		name: "opnix 0.8.0: 1Password does not accept the token", more: true, system: opnixOf("version", "0.8.0", "fail", "auth"), probes: onePassword,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "auth", hint: "make a new one in 1Password"},
	},
	{
		name: "opnix: a secret that 1Password does not have", system: opnixOf("brokenSecret", true), probes: onePassword,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "missing-reference", note: "op://…", hint: "op item list"},
	},
	{
		name: "opnix 0.8.0: a secret that 1Password does not have", system: opnixOf("version", "0.8.0", "brokenSecret", true), probes: onePassword,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "missing-reference", hint: "op item list"},
	},
	{
		name: "opnix: a secret of a user that does not exist", system: opnixOf("unknownOwner", true), probes: onePassword,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "unknown-owner", note: "user 'nosuchuser' does not exist", hint: "DynamicUser"},
	},
	{
		name: "opnix 0.8.0: a secret of a user that does not exist", more: true, system: opnixOf("version", "0.8.0", "unknownOwner", true), probes: onePassword,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "unknown-owner", hint: "DynamicUser"},
	},
	{
		name: "opnix: no network, and the last secrets are there", since: opnixOf(), system: opnixOf("fail", "network"), probes: onePassword,
		outcome: "degraded", want: answer{verdict: "unknown", class: "network", note: "no such host", hint: "way out"},
	},
	{
		name: "opnix 0.8.0: no network, and the last secrets are there", since: opnixOf(), system: opnixOf("version", "0.8.0", "fail", "network"), probes: onePassword,
		outcome: "degraded", want: answer{verdict: "unknown", class: "network", hint: "way out"},
	},
	{
		name: "opnix: no network, and no secrets", system: opnixOf("fail", "network"), probes: onePassword,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "network", hint: "way out"},
	},
	{
		name: "opnix: too many requests", since: opnixOf(), system: opnixOf("fail", "rate-limited"), probes: onePassword,
		outcome: "degraded", want: answer{verdict: "unknown", class: "rate-limited", hint: "limit"},
	},
	{
		name: "opnix 0.8.0: too many requests", more: true, since: opnixOf(), system: opnixOf("version", "0.8.0", "fail", "rate-limited"), probes: onePassword,
		outcome: "degraded", want: answer{verdict: "unknown", class: "rate-limited", hint: "limit"},
	},
	{
		name: "opnix: 1Password is out of order", since: opnixOf(), system: opnixOf("fail", "outage"), probes: onePassword,
		outcome: "degraded", want: answer{verdict: "unknown", class: "outage", hint: "status.1password.com"},
	},
	{
		name: "opnix: 1Password is out of order, and no secrets", more: true, system: opnixOf("fail", "outage"), probes: onePassword,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "outage", hint: "status.1password.com"},
	},
	{
		name: "opnix: it failed before and fails again", since: opnixOf(), before: shell(": >/etc/opnix-token; systemctl restart opnix-secrets.service || true"),
		system: opnixOf().with(settings{"managerRevision": "2"}), probes: onePassword,
		outcome: "degraded", want: answer{verdict: "unknown", class: "failed-before", note: "Token file is empty", hint: "opnix token set"},
	},
}

var opnixFileCases = []probeCase{
	{
		name: "opnix: secrets with another mode", system: opnixOf("wrongMode", true), probes: onePassword,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "mode", seen: "0644", hint: "chmod 0600 " + secretFile},
	},
	{
		name: "opnix 0.8.0: the declared mode changes and the file's does not", since: opnixOf("version", "0.8.0"),
		system: opnixOf("version", "0.8.0", "secrets", secretsOf("mode", "0640")), probes: onePassword,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "mode", seen: "0600", hint: "chmod 0640 " + secretFile},
	},
	{
		name: "opnix 0.11.0: the declared mode changes, and so does the file's", since: opnixOf(),
		system: opnixOf("secrets", secretsOf("mode", "0640")), probes: onePassword,
		outcome: "committed", want: answer{verdict: "pass"},
	},
	{
		name: "opnix: a secret is empty", system: opnixOf("secrets", secretsOf("value", "")), probes: onePassword,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "empty-file", seen: "empty", hint: "systemctl restart opnix-secrets.service"},
	},
	{
		name: "opnix: somebody deletes a secret", since: opnixOf(), system: opnixOf("note", "other"), during: shell("rm " + secretFile), more: true,
		probes: "[probes.onepassword-secrets]\n@secrets@\nsettle = \"5s\"\n", outcome: "rolled-back",
		want: answer{verdict: "fail", class: "missing-file", hint: "systemctl restart"},
	},
	{
		name: "opnix: somebody gives a secret away", since: opnixOf(), system: opnixOf("note", "other"), during: shell("chown nobody " + secretFile),
		probes: "[probes.onepassword-secrets]\n@secrets@\nsettle = \"5s\"\n", outcome: "rolled-back",
		want: answer{verdict: "fail", class: "owner", hint: "chown root"},
	},
	{
		name: "opnix: a secret of another group", more: true, since: opnixOf(), system: opnixOf("note", "other"), during: shell("chgrp nogroup " + secretFile),
		probes: "[probes.onepassword-secrets]\n@secrets@\nsettle = \"5s\"\n", outcome: "rolled-back",
		want: answer{verdict: "fail", class: "owner", hint: "chgrp root"},
	},
	{
		name: "opnix: a directory where a secret should be", more: true, since: opnixOf(), system: opnixOf("note", "other"),
		during: shell("rm " + secretFile + " && mkdir " + secretFile),
		probes: "[probes.onepassword-secrets]\n@secrets@\nsettle = \"5s\"\n", outcome: "rolled-back",
		want: answer{verdict: "fail", class: "not-a-file"},
	},
	{
		name: "opnix: everybody may read the token", since: opnixOf(), system: opnixOf("note", "other"), during: shell("chmod 0644 /etc/opnix-token"),
		probes: "[probes.onepassword-secrets]\n@secrets@\nsettle = \"5s\"\n", outcome: "rolled-back",
		want: answer{verdict: "fail", class: "mode", seen: "0644", hint: "chmod 0640 /etc/opnix-token"},
	},
	{
		name: "opnix: the token is somebody's", more: true, since: opnixOf(), system: opnixOf("note", "other"), during: shell("chown nobody /etc/opnix-token"),
		probes: "[probes.onepassword-secrets]\n@secrets@\nsettle = \"5s\"\n", outcome: "rolled-back",
		want: answer{verdict: "fail", class: "owner"},
	},
	{
		name: "opnix: a link to a secret leads elsewhere", more: true, since: opnixOf(),
		system: opnixOf("secrets", secretsOf("symlinks", []string{"/etc/lab-link"})), during: shell("ln -sfn /etc/passwd /etc/lab-link"),
		probes: "[probes.onepassword-secrets]\n@secrets@\nsettle = \"5s\"\n", outcome: "rolled-back",
		want: answer{verdict: "fail", class: "symlink"},
	},
	{
		name: "opnix: a secret had another mode before", since: opnixOf(), before: shell("chmod 0640 " + secretFile),
		system: opnixOf().with(settings{"managerRevision": "2"}), probes: onePassword,
		outcome: "degraded", want: answer{verdict: "unknown", class: "failed-before", seen: "0640", hint: "chmod 0600"},
	},
	{
		name: "opnix: login keys without a key", more: true,
		system: opnixOf("secrets", settings{"userKeys": settings{"path": "/var/lib/lab/authorized_keys", "value": "# none\n"}}), probes: onePassword,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "no-login-key", hint: "keep a session open"},
	},
}

var opnixUnitCases = []probeCase{
	{
		name: "opnix: no unit", system: opnixOf("unit", false), probes: onePassword,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "no-unit", hint: "0.7"},
	},
	{
		name: "opnix: a consumer that does not wait", system: consumed.with(consumer("")), probes: onePassword,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "ordering", seen: "not ordered", hint: "systemd.services.consumer.after"},
	},
	{
		name:   "opnix: a consumer that waits for the name that does not exist",
		system: consumed.with(consumer("After=onepassword-secrets.service\nWants=onepassword-secrets.service")), probes: onePassword,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "ordering", seen: "onepassword-secrets.service, which does not exist"},
	},
	{
		name: "opnix: a consumer that does not pull it in", more: true, system: consumed.with(consumer("After=opnix-secrets.service")), probes: onePassword,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "ordering", seen: "neither wants nor requires", hint: "systemd.services.consumer.wants"},
	},
	{
		name: "opnix: a consumer that does not exist", system: consumed, probes: onePassword,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "ordering", seen: "consumer.service is not-found"},
	},
	{
		name: "opnix: the unit changes and is not run again", since: opnixOf("restartIfChanged", false), system: opnixOf("restartIfChanged", false, "note", "other"),
		probes: onePassword, outcome: "rolled-back", want: answer{verdict: "fail", class: "stale", hint: "systemctl restart opnix-secrets.service"},
	},
	{
		name: "opnix: the unit is stopped", since: opnixOf(), system: opnixOf("note", "other"), during: shell("systemctl stop opnix-secrets.service"),
		probes: "[probes.onepassword-secrets]\n@secrets@\nsettle = \"5s\"\n", outcome: "rolled-back",
		want: answer{verdict: "fail", class: "state", hint: "systemctl start opnix-secrets.service"},
	},
	{
		name: "opnix: it hangs when it is run again", since: opnixOf("fail", "hang", "restartIfChanged", false, "note", "1").with(settings{"faults": settings{"missingToken": true}}),
		before: shell("umask 077; echo ops_lab >/etc/opnix-token"), system: opnixOf("fail", "hang", "restartIfChanged", false, "note", "1"),
		during: shell("systemctl restart --no-block opnix-secrets.service"),
		probes: "[probes.onepassword-secrets]\n@secrets@\nsettle = \"5s\"\n", outcome: "rolled-back",
		want: answer{verdict: "fail", class: "hung", seen: "activating/start", hint: "systemctl list-jobs"},
	},
	{
		name: "opnix 0.8.0: it waits for a service that waits for it", system: opnixOf("version", "0.8.0", "secrets", secretsOf("services", []string{"consumer"})).with(consumer(ordered)),
		probes: onePassword, timeouts: `{ activation = "12s", confirm = "20s", commit = "40s", rollback = "60s", grace = "5s", connect = "10s" }`,
		outcome: "rolled-back", cause: "did not end",
	},
	{
		name: "opnix 0.8.0: a restart by hand waits for a service that waits for it", since: consumed.with(consumer(ordered)),
		system: opnixOf("version", "0.8.0", "secrets", secretsOf("services", []string{"consumer"})).with(consumer(ordered)),
		during: shell("rm /var/lib/opnix/secret-hashes.json; systemctl restart --no-block opnix-secrets.service consumer.service"),
		probes: "[probes.onepassword-secrets]\n@secrets@\nsettle = \"6s\"\n", outcome: "rolled-back",
		want: answer{verdict: "fail", class: "hung", note: "queued: consumer.service", hint: "0.10.1"},
	},
	{
		name: "opnix 0.11.0: a consumer is restarted and nothing hangs", system: consumed.with(consumer(ordered)), since: opnixOf().with(consumer(ordered)), probes: onePassword,
		outcome: "committed", want: answer{verdict: "pass"},
	},
}
