package hosts

import "testing"

// addSeeds adds files that use every table and every form of a value, so that the
// fuzzer has something to break.
func addSeeds(f *testing.F) {
	f.Helper()
	for _, seed := range []string{
		"",
		"\ufeff[hosts.a]",
		"[hosts]\n",
		"hosts = {}",
		"[hosts.web1]\nprobes = [\"a\"]\n[probes.a]\nkind = \"tcp\"\naddress = \"a:1\"\n[jumps.b]\n[defaults]\njump=[\"b\"]",
		"hosts.a = {}\nhosts.b = { tags = { extend = [\"x\"] }, confirm = { port = 1 } }\ntags.x.port = 3\n",
		"[tags.x]\nprobes = { extend = [\"hercules-ci-agent\"] }\n[hosts.a]\ntags = [\"x\", \"y\"]\n",
		"[hosts.a]\nelevation_password = { command = [\"a\"] }\nelevation = []\n[hosts.b]\nelevation_password = \"ask\"\nelevation = \"run0\"\n",
		"[hosts.a]\nssh_options = { Port = 1, User = true, SendEnv = [\"A\", \"B\"], ProxyJump = \"b\" }\n",
		"[hosts.a]\nbuild = \"b\"\n[hosts.b]\nbuild = \"host\"\nconfirm = { address = \"x\", user = \"y\", host_keys = [] }\n",
		"[hosts.a.profiles.x]\nkind = \"custom\"\nattribute = \"a.b\"\nactivate = [\"a\"]\nafter = [\"y\"]\n[hosts.a.profiles.y]\nkind = \"deploy-rs\"\nafter = [\"x\"]\n",
		"[hosts.a]\nsystem = false\n[hosts.a.profiles.\"b.c\"]\nkind = \"home-manager\"\nuser = \"u\"\npath = \"/p\"\nprobes = [\"hercules-ci-agent\"]\ntimeouts = { confirm = \"1s\" }\n",
		"[hosts.a.profiles.system]\nuser = \"root\"\n[hosts.a.profiles.other]\nkind = \"nixos\"\n",
		"[hosts.a]\njump = [\"b\"]\n[hosts.b]\njump = [\"c\"]\n[hosts.c]\njump = [\"a\"]\n",
		"[hosts.a]\naddress = \"local\"\n[hosts.localhost]\n",
		"[hosts.a]\naddress = \"x\"\n[hosts.b]\naddress = \"X\"\n",
		"[hosts.a]\ntimeouts.confirm = \"1\\u0000s\"\nport = 0x16\nmachine_id = '\\x'\nagent = \"\"\"\n/a\"\"\"\n",
		"[hosts.a]\nprobes = [\"s\"]\n[[probes.s.secrets]]\npath = \"/a\"\n[probes.s]\nkind = \"onepassword-secrets\"\nunits = \"a\"\n",
	} {
		f.Add([]byte(seed))
	}
}
