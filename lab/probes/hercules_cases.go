//go:build lab

package probes

// agentProbe is the preset alone, with the case's windows.
const agentProbe = "[probes.hercules-ci-agent]\n@agent@\n"

const (
	agentBase    = "/var/lib/hercules-ci-agent"
	agentToken   = agentBase + "/secrets/cluster-join-token.key"
	agentCaches  = agentBase + "/secrets/binary-caches.json"
	agentSession = agentBase + "/secretState/session.key"
)

// agent is a system whose agent has these knobs.
func agent(knobs settings) settings { return settings{"hercules": knobs} }

// quietly keeps the agent's restarter from mending, or hiding, what a case does.
func quietly(knobs settings) settings {
	knobs["restarter"] = false
	return agent(knobs)
}

// herculesCases are the fault classes of the preset hercules-ci-agent.
var herculesCases = []probeCase{
	// Healthy ones.
	{name: "hercules: all is well", system: agent(settings{}), probes: agentProbe,
		outcome: "committed", want: answer{verdict: "pass", seen: "connected to the service"}},
	{name: "hercules: the switch leaves the agent alone", more: true, since: agent(settings{}),
		system: agent(settings{"restartIfChanged": false, "labelRevision": true}), probes: agentProbe,
		outcome: "committed", want: answer{verdict: "pass", seen: "online for"}},
	{name: "hercules: one late restart by the path unit", since: agent(settings{}), system: agent(settings{"labelRevision": true}), probes: agentProbe,
		during: shell("touch " + agentCaches), outcome: "committed", want: answer{verdict: "pass", seen: "connected"}},
	{name: "hercules: one late restart by hand", more: true, system: quietly(settings{}), probes: agentProbe,
		during: shell("sleep 1; systemctl restart hercules-ci-agent"), outcome: "committed", want: answer{verdict: "pass", seen: "connected"}},
	{name: "hercules: caches of a kind that is ignored", system: agent(settings{"badCaches": "unknown-kind"}), probes: agentProbe,
		outcome: "committed", want: answer{verdict: "pass"}},
	{name: "hercules: no caches", more: true, system: agent(settings{"badCaches": "none"}), probes: agentProbe,
		outcome: "committed", want: answer{verdict: "pass"}},
	{name: "hercules: revoked token, but a session of before", more: true, since: agent(settings{}), system: agent(settings{"revoked": true}), probes: agentProbe,
		outcome: "committed", want: answer{verdict: "pass"}},
	{name: "hercules: ordered after a name that does not exist, too", more: true,
		system: agent(settings{"after": "network-online.target onepassword-secrets.service opnix-secrets.service"}), probes: agentProbe,
		outcome: "committed", want: answer{verdict: "pass"}},
	{name: "hercules: tasks that the switch broke off", more: true, since: agent(settings{"tasks": 3}), system: agent(settings{}), probes: agentProbe,
		outcome: "committed", want: answer{verdict: "pass"}},
	{name: "hercules: the service sees the agent", more: true, system: agent(settings{}),
		before: shell("umask 077; echo lab-api-token >/root/api-token"), probes: agentProbe + "account = \"lab\"\napi_token_file = \"/root/api-token\"\n",
		outcome: "committed", want: answer{verdict: "pass"}},
	{name: "hercules: the API token is open to others", more: true, system: agent(settings{}),
		before: shell("echo lab-api-token >/root/api-token; chmod 644 /root/api-token"), probes: agentProbe + "account = \"lab\"\napi_token_file = \"/root/api-token\"\n",
		outcome: "committed", want: answer{verdict: "pass"}},

	// The service, or the way to it.
	{name: "hercules: the service refuses the socket", system: quietly(settings{"offline": true}), probes: agentProbe,
		outcome: "degraded", want: answer{verdict: "unknown", class: "socket", note: "Recovering", hint: "status.hercules-ci.com"}},
	{name: "hercules: the service never answers the socket", more: true, system: quietly(settings{"offline": "mute"}), probes: agentProbe,
		outcome: "degraded", want: answer{verdict: "unknown", class: "socket", hint: "status.hercules-ci.com"}},
	{name: "hercules: the service never answers, and the session is an old one", since: quietly(settings{}), system: quietly(settings{"offline": "mute", "labelRevision": true}),
		probes: agentProbe, outcome: "degraded", want: answer{verdict: "unknown", class: "socket", note: "Recovering"}},
	{name: "hercules: nobody listens", since: quietly(settings{}), before: shell("systemctl stop lab-hercules-api"), probes: agentProbe,
		system: quietly(settings{"offline": "api"}), outcome: "degraded", want: answer{verdict: "unknown", class: "connect", hint: "firewall"}},
	{name: "hercules: the service's name is unknown", system: quietly(settings{"offline": "dns"}), probes: agentProbe,
		outcome: "degraded", want: answer{verdict: "unknown", class: "dns", hint: "resolvectl"}},
	{name: "hercules: nobody listens, and no other unit may fail", more: true, since: quietly(settings{}), system: quietly(settings{"offline": "api", "restartSec": 120}),
		probes: agentProbe + "[probes.no-new-failed-units]\n@watch@\n", outcome: "degraded",
		want: answer{verdict: "unknown", class: "connect"}, others: []answer{{probe: "no-new-failed-units", verdict: "pass"}}},
	{name: "hercules: no TLS", system: quietly(settings{"offline": "tls"}), probes: agentProbe,
		outcome: "degraded", want: answer{verdict: "unknown", class: "tls", hint: "clock"}},
	{name: "hercules: the service answers 503", system: quietly(settings{"offline": "http"}), probes: agentProbe,
		outcome: "degraded", want: answer{verdict: "unknown", class: "http-5xx", note: "503"}},
	{name: "hercules: the service goes away while it is judged", more: true, system: quietly(settings{}), during: shell("systemctl stop lab-hercules-api"), probes: agentProbe,
		outcome: "degraded", want: answer{verdict: "unknown", class: "connect", note: "refused"}},
	{name: "hercules: the name is lost while it is judged", more: true, system: quietly(settings{}),
		during: shell("echo 127.0.0.1 localhost >/etc/hosts; systemctl restart hercules-ci-agent || true"), probes: agentProbe,
		outcome: "degraded", want: answer{verdict: "unknown", class: "dns"}},
	{name: "hercules: failed before the deployment", more: true, since: quietly(settings{"restartSec": 900}), system: quietly(settings{"restartSec": 900}),
		before: shell("echo '{' >" + agentCaches + "; systemctl restart hercules-ci-agent || true"), probes: agentProbe,
		outcome: "degraded", want: answer{verdict: "unknown", class: "failed-before"}},

	// The token.
	{name: "hercules: the service refuses the token", system: quietly(settings{"revoked": true}), probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "auth", note: "401", hint: "join token"}},
	{name: "hercules: the service refuses another token", more: true, since: quietly(settings{}), system: quietly(settings{"badToken": "new", "revoked": true}), probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "auth", note: "401"}},
	{name: "hercules: the token is none", system: quietly(settings{"badToken": true}), probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "token-shape", seen: "three parts", hint: "dashboard"}},
	{name: "hercules: the token is none, and the session is an old one", more: true, since: quietly(settings{}), system: quietly(settings{"badToken": true}), probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "token-shape"}},
	{name: "hercules: the token is of another kind", more: true, system: quietly(settings{"badToken": "other"}), probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "token-shape", seen: "subject"}},
	{name: "hercules: the token is empty", system: quietly(settings{"badToken": "empty"}), probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "empty-file"}},
	{name: "hercules: others may read the token", system: quietly(settings{}), during: shell("chmod 644 " + agentToken), probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "mode", seen: "0644", hint: "chmod 0600"}},
	{name: "hercules: the token belongs to root", system: quietly(settings{}), during: shell("chown root " + agentToken), probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "owner", hint: "chown hercules-ci-agent"}},
	{name: "hercules: the token is lost", more: true, system: quietly(settings{}), during: shell("rm " + agentToken), probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "missing-file"}},

	// binary-caches.json.
	{name: "hercules: caches that are no JSON", system: quietly(settings{"badCaches": "parse"}), probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "caches-shape", seen: "not a JSON object"}},
	{name: "hercules: a Cachix cache without keys", system: quietly(settings{"badCaches": "schema"}), probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "caches-shape", seen: "publicKeys", hint: "documentation"}},
	{name: "hercules: a Nix cache without keys", more: true, system: quietly(settings{"badCaches": "nix"}), probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "caches-shape", seen: "signingKeys"}},
	{name: "hercules: a cache without a kind", more: true, system: quietly(settings{"badCaches": "kind"}), probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "caches-shape", seen: "kind is missing"}},
	{name: "hercules: caches with an apiVersion", more: true, system: quietly(settings{"badCaches": "api-version"}), probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "caches-shape", seen: "apiVersion"}},
	{name: "hercules: no caches file", system: quietly(settings{"badCaches": "missing"}), probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "missing-file", hint: "opnix-secrets.service"}},

	// Directories and the session.
	{name: "hercules: others may enter the secrets", more: true, system: quietly(settings{}), during: shell("chmod 755 " + agentBase + "/secrets"), probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "mode", seen: "0755", hint: "chmod 0700"}},
	{name: "hercules: the agent cannot enter its directory", system: quietly(settings{}), during: shell("chown root:root " + agentBase + "; chmod 700 " + agentBase), probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "base-directory", hint: "chown hercules-ci-agent"}},
	{name: "hercules: the session is lost", more: true, system: quietly(settings{}), during: shell("rm " + agentSession), probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "no-session", hint: "systemctl restart"}},
	{name: "hercules: the session is a placeholder", more: true, system: quietly(settings{}), during: shell("echo x >" + agentSession), probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "no-session"}},

	// The unit.
	{name: "hercules: the agent dies after a second", system: quietly(settings{"crash": true}), probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "crash|crash-loop", note: "lab crash", hint: "journalctl"}},
	{name: "hercules: the agent dies after it was well", more: true, system: quietly(settings{"crash": 7}), probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "crash|crash-loop", note: "lab crash"}},
	{name: "hercules: the agent is started again every second", more: true, system: quietly(settings{"crash": 1, "restartSec": 1}), probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "crash|crash-loop"}},
	{name: "hercules: the agent is killed", more: true, system: quietly(settings{"restartSec": 120}), during: shell("systemctl kill -s SEGV hercules-ci-agent"), probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "crash", seen: "auto-restart"}},
	{name: "hercules: the agent is stopped", more: true, system: quietly(settings{}), during: shell("systemctl stop hercules-ci-agent"), probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "state", hint: "systemctl start"}},
	{name: "hercules: something restarts the agent again and again", more: true, system: quietly(settings{}),
		during: shell("for _ in 1 2 3; do sleep 1; systemctl restart hercules-ci-agent; done"), probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "restarts"}},
	{name: "hercules: the agent never says that it is online", system: quietly(settings{"neverOnline": true}), probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "not-online"}},
	{name: "hercules: the agent is online and not connected", system: quietly(settings{"noConnection": true}), probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "no-connection"}},
	{name: "hercules: not ordered after OpNix", system: quietly(settings{"after": "network-online.target"}), probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "ordering", hint: "opnix-secrets.service"}},
	{name: "hercules: nothing starts the agent at boot", more: true, since: quietly(settings{}), system: quietly(settings{"wanted": false}), probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "not-enabled", hint: "multi-user.target"}},
	{name: "hercules: no agent at all", more: true, system: settings{"opnix": settings{}}, probes: agentProbe,
		outcome: "rolled-back", want: answer{verdict: "fail", class: "no-unit", hint: "services.hercules-ci-agent"}},
}
