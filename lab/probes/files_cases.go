//go:build lab

package probes

// fileCases are the classes of the kinds file and secret. What they look at is
// written before the deployment, as state is that no system brings.
var fileCases = []probeCase{
	{
		name:    "file: it is as it should be",
		before:  shell("install -D -m 0640 -g adm /dev/null /var/lib/probed/key; echo something >/var/lib/probed/key"),
		system:  settings{},
		probes:  probe("key", "file", `path = "/var/lib/probed/key"`, `type = "file"`, `mode = "0640"`, `owner = "root"`, `group = "adm"`, `size_least = 1`, window),
		outcome: "committed",
		want:    answer{verdict: "pass"},
		more:    true,
	}, {
		name:    "file: it is missing",
		system:  settings{},
		probes:  probe("key", "file", `path = "/var/lib/probed/key"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "missing-file", hint: "ls -la /var/lib/probed/key"},
	}, {
		name:    "file: another mode",
		before:  shell("install -D -m 0644 /etc/hostname /var/lib/probed/key"),
		system:  settings{},
		probes:  probe("key", "file", `path = "/var/lib/probed/key"`, `mode = "0600"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "mode", seen: "0644", hint: "chmod 0600 /var/lib/probed/key"},
	}, {
		name:    "file: another owner",
		before:  shell("install -D -m 0600 -o admin /etc/hostname /var/lib/probed/key"),
		system:  settings{},
		probes:  probe("key", "file", `path = "/var/lib/probed/key"`, `owner = "root"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "owner", hint: "chown"},
		more:    true,
	}, {
		name:    "file: an owner that the host does not know",
		before:  shell("install -D /etc/hostname /var/lib/probed/key"),
		system:  settings{},
		probes:  probe("key", "file", `path = "/var/lib/probed/key"`, `owner = "nosuchuser"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "unknown-owner", seen: "nosuchuser"},
		more:    true,
	}, {
		name:    "file: it was not written since the trial began",
		before:  shell("install -D /etc/hostname /var/lib/probed/key"),
		system:  settings{},
		probes:  probe("key", "file", `path = "/var/lib/probed/key"`, `since_trial = true`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "stale"},
		more:    true,
	}, {
		name:    "file: the new system writes it",
		before:  shell("install -D /etc/hostname /var/lib/probed/key"),
		system:  units("write.service", unitText("date >/var/lib/probed/key", once, stays)),
		probes:  probe("key", "file", `path = "/var/lib/probed/key"`, `since_trial = true`, window),
		outcome: "committed",
		want:    answer{verdict: "pass"},
		more:    true,
	}, {
		name:    "file: a link that leads elsewhere",
		before:  shell("mkdir -p /var/lib/probed; ln -s /etc/hosts /var/lib/probed/link"),
		system:  settings{},
		probes:  probe("link", "file", `path = "/var/lib/probed/link"`, `target = "/etc/hostname"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "target", seen: "/etc/hosts"},
		more:    true,
	}, {
		name:    "file: it should not be there",
		system:  settings{},
		probes:  probe("key", "file", `path = "/etc/hostname"`, `absent = true`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "present"},
		more:    true,
	}, {
		name:    "secret: a token as it should be",
		before:  shell("umask 077; mkdir -p /var/lib/probed; echo eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln >/var/lib/probed/token"),
		system:  settings{},
		probes:  probe("token", "secret", `path = "/var/lib/probed/token"`, `shape = "jwt"`, window),
		outcome: "committed",
		want:    answer{verdict: "pass"},
	}, {
		name:    "secret: no token at all",
		before:  shell("umask 077; mkdir -p /var/lib/probed; echo not a token >/var/lib/probed/token"),
		system:  settings{},
		probes:  probe("token", "secret", `path = "/var/lib/probed/token"`, `shape = "jwt"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "not-jwt"},
		more:    true,
	}, {
		name:    "secret: an empty file",
		before:  shell("umask 077; mkdir -p /var/lib/probed; : >/var/lib/probed/token"),
		system:  settings{},
		probes:  probe("token", "secret", `path = "/var/lib/probed/token"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "empty-file"},
	}, {
		name:    "secret: open to others",
		before:  shell("mkdir -p /var/lib/probed; echo hidden >/var/lib/probed/token; chmod 0644 /var/lib/probed/token"),
		system:  settings{},
		probes:  probe("token", "secret", `path = "/var/lib/probed/token"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "mode", seen: "0644", hint: "chmod o="},
		more:    true,
	}, {
		name:    "secret: a reference that nobody resolved",
		before:  shell("umask 077; mkdir -p /var/lib/probed; echo op://vault/item/field >/var/lib/probed/token"),
		system:  settings{},
		probes:  probe("token", "secret", `path = "/var/lib/probed/token"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "reference"},
		more:    true,
	}, {
		name:    "secret: JSON that parses but does not fit",
		before:  shell(`umask 077; mkdir -p /var/lib/probed; echo '{"kind": "Other"}' >/var/lib/probed/config.json`),
		system:  settings{},
		probes:  probe("config", "secret", `path = "/var/lib/probed/config.json"`, `schema = '{"type": "object", "required": ["publicKeys"]}'`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "schema", seen: "publicKeys"},
		more:    true,
	}, {
		name:    "secret: no JSON",
		before:  shell(`umask 077; mkdir -p /var/lib/probed; echo '{"kind": ' >/var/lib/probed/config.json`),
		system:  settings{},
		probes:  probe("config", "secret", `path = "/var/lib/probed/config.json"`, `shape = "json"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "not-json"},
		more:    true,
	},
}

// talkative is a unit that writes to the journal and goes on.
var talkative = unitText("echo ready to serve; echo something is odd; exec sleep 100000")

var journalCases = []probeCase{
	{
		name:    "journal: it has what it must have",
		system:  units("web.service", talkative),
		probes:  probe("log", "journal", `unit = "web.service"`, `must = [{ pattern = "^ready to serve$" }]`, `soak = "0s"`, window),
		outcome: "committed",
		want:    answer{verdict: "pass"},
		more:    true,
	}, {
		name:    "journal: it lacks what it must have",
		system:  units("web.service", talkative),
		probes:  probe("log", "journal", `unit = "web.service"`, `must = [{ pattern = "is online" }]`, `soak = "0s"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "missing", hint: "journalctl"},
	}, {
		name:    "journal: it has what it must not have",
		system:  units("web.service", talkative),
		probes:  probe("log", "journal", `unit = "web.service"`, `of = "invocation"`, `must_not = [{ pattern = "odd" }]`, `soak = "0s"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "forbidden", note: "something is odd"},
	}, {
		name:    "journal: what was said before the trial does not count",
		since:   units("web.service", talkative),
		system:  units("web.service", talkative),
		probes:  probe("log", "journal", `unit = "web.service"`, `must_not = [{ pattern = "odd" }]`, `soak = "1s"`, window),
		outcome: "committed",
		want:    answer{verdict: "pass"},
		more:    true,
	}, {
		name:    "journal: what must not be said is said while it is watched",
		system:  units("web.service", unitText("sleep 5; echo out of memory; exec sleep 100000")),
		probes:  probe("log", "journal", `unit = "web.service"`, `must_not = [{ pattern = "out of memory" }]`, `deadline = "3s"`, `soak = "6s"`),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "forbidden"},
		more:    true,
	},
}
