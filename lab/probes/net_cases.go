//go:build lab

package probes

// web serves /srv/web at port 8080.
var web = units("web.service", "[Unit]\nDescription=Serves\n[Service]\nExecStart=/usr/bin/busybox httpd -f -p 8080 -h /srv/web\n")

// pages are what it serves.
var pages = shell(`mkdir -p /srv/web/cgi-bin
echo 'the service is well' >/srv/web/index.html
page() { printf '#!/bin/sh\n%s\n' "$2" >/srv/web/cgi-bin/$1; chmod 755 /srv/web/cgi-bin/$1; }
page broken 'printf "HTTP/1.0 500 Broken\r\nContent-Type: text/plain\r\n\r\nboom\n"'
page moved 'printf "HTTP/1.0 302 Found\r\nLocation: /index.html\r\n\r\n"'
page slow 'sleep 30'`)

// asksServers makes a host look for names at servers: those of the lab know files alone.
var asksServers = shell("sed -i 's/^hosts:.*/hosts: files dns/' /etc/nsswitch.conf")

var netCases = []probeCase{
	{
		name:    "tcp: a port accepts connections",
		before:  pages,
		system:  web,
		probes:  probe("port", "tcp", `address = "127.0.0.1:8080"`, window),
		outcome: "committed",
		want:    answer{verdict: "pass", seen: "accepted"},
		more:    true,
	}, {
		name:    "tcp: nothing listens",
		system:  settings{},
		probes:  probe("port", "tcp", `address = "127.0.0.1:8080"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "refused", seen: "refused"},
	}, {
		name:    "tcp: it listens only after two seconds",
		before:  pages,
		system:  units("web.service", unitText("sleep 2; exec /usr/bin/busybox httpd -f -p 8080 -h /srv/web")),
		probes:  probe("port", "tcp", `address = "127.0.0.1:8080"`, `deadline = "10s"`),
		outcome: "committed",
		want:    answer{verdict: "pass"},
		more:    true,
	}, {
		name:    "tcp: the host's firewall drops what comes from outside",
		before:  and(pages, shell("nft 'add table inet probed; add chain inet probed in { type filter hook input priority -5; }; add rule inet probed in iifname host0 tcp dport 8080 drop'")),
		system:  web,
		probes:  probe("inside", "tcp", `address = "127.0.0.1:8080"`, window) + probe("outside", "tcp", `address = "@address@:8080"`, `from = "deployer"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "pass"},
		others:  []answer{{probe: "outside", verdict: "fail", class: "timeout"}},
	}, {
		name:    "http: the answer is as wanted, from both sides",
		before:  pages,
		system:  web,
		probes:  probe("inside", "http", `url = "http://127.0.0.1:8080/index.html"`, `body = "is well"`, window) + probe("outside", "http", `url = "http://@address@:8080/index.html"`, `from = "deployer"`, window),
		outcome: "committed",
		want:    answer{verdict: "pass", seen: "200"},
		others:  []answer{{probe: "outside", verdict: "pass"}},
	}, {
		name:    "http: status 500",
		before:  pages,
		system:  web,
		probes:  probe("site", "http", `url = "http://127.0.0.1:8080/cgi-bin/broken"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "status", seen: "500"},
	}, {
		name:    "http: a redirect is not followed unasked",
		before:  pages,
		system:  web,
		probes:  probe("site", "http", `url = "http://127.0.0.1:8080/cgi-bin/moved"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "status", seen: "302", note: "/index.html"},
	}, {
		name:    "http: another body",
		before:  pages,
		system:  web,
		probes:  probe("site", "http", `url = "http://127.0.0.1:8080/index.html"`, `body = "is ill"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "body", seen: "does not match"},
		more:    true,
	}, {
		name:    "http: no answer in time",
		before:  pages,
		system:  web,
		probes:  probe("site", "http", `url = "http://127.0.0.1:8080/cgi-bin/slow"`, `deadline = "4s"`),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "timeout"},
		more:    true,
	}, {
		name:    "http: it speaks no TLS",
		before:  pages,
		system:  web,
		probes:  probe("site", "http", `url = "https://127.0.0.1:8080/"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "tls"},
		more:    true,
	}, {
		name:    "http: the host does not know the name",
		system:  settings{},
		probes:  probe("site", "http", `url = "http://nosuchname.example/"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "dns", seen: "not resolved"},
	}, {
		name:    "http: the deployer does not know the name",
		system:  settings{},
		probes:  probe("site", "http", `url = "http://nosuchname.example/"`, `from = "deployer"`, window),
		outcome: "degraded",
		want:    answer{verdict: "unknown", class: "dns"},
	}, {
		name:    "http: a redirect is followed where that is asked for",
		before:  pages,
		system:  web,
		probes:  probe("site", "http", `url = "http://127.0.0.1:8080/cgi-bin/moved"`, `follow_redirects = true`, `body = "is well"`, window),
		outcome: "committed",
		want:    answer{verdict: "pass"},
		more:    true,
	}, {
		name:    "http: the wanted status is not the usual one",
		before:  pages,
		system:  web,
		probes:  probe("site", "http", `url = "http://127.0.0.1:8080/nothing"`, `status = 404`, window),
		outcome: "committed",
		want:    answer{verdict: "pass"},
		more:    true,
	}, {
		name:    "http: a header is missing",
		before:  pages,
		system:  web,
		probes:  probe("site", "http", `url = "http://127.0.0.1:8080/index.html"`, `headers = [{ name = "Strict-Transport-Security" }]`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "header", seen: "Strict-Transport-Security"},
		more:    true,
	}, {
		name:    "dns: a name that the host knows",
		system:  settings{},
		probes:  probe("name", "dns", `name = "localhost"`, `answers = ["127.0.0.1"]`, window),
		outcome: "committed",
		want:    answer{verdict: "pass"},
		more:    true,
	}, {
		name:    "dns: another address",
		system:  settings{},
		probes:  probe("name", "dns", `name = "localhost"`, `answers = ["192.0.2.1"]`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "answers", seen: "127.0.0.1"},
		more:    true,
	}, {
		name:    "dns: the host's own server does not run",
		before:  asksServers,
		system:  settings{},
		probes:  probe("name", "dns", `name = "nosuchname.example"`, `server = "127.0.0.1"`, window),
		outcome: "rolled-back",
		want:    answer{verdict: "fail", class: "no-server", seen: "127.0.0.1"},
	}, {
		name:    "dns: somebody else's server gives no answer",
		before:  asksServers,
		system:  settings{},
		probes:  probe("name", "dns", `name = "nosuchname.example"`, `server = "10.255.255.1"`, window),
		outcome: "degraded",
		want:    answer{verdict: "unknown", class: "no-answer"},
		more:    true,
	},
}
