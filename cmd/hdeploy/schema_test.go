package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/hbohlen/hdeploy/deploy"
	"github.com/hbohlen/hdeploy/hosts"
)

var update = flag.Bool("update", false, "write the generated documents anew")

const publishedSchema = "../../docs/deploy.schema.json"

// What editors check by is what the decoder reads.
func TestPublishedSchemaIsTheDecoders(t *testing.T) {
	want, err := hosts.Schema(deploy.ProbeKinds())
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(publishedSchema, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(publishedSchema)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what hdeploy config --schema prints; write it with: go test ./cmd/hdeploy -run Published -update", publishedSchema)
	}
}

// compiledSchema fails where the schema is none of its draft.
func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := hosts.Schema(deploy.ProbeKinds())
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft7)
	if err := compiler.AddResource("deploy.schema.json", document); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile("deploy.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// judged is what the schema says of a document.
func judged(t *testing.T, s *jsonschema.Schema, document string) error {
	t.Helper()
	var value map[string]any
	if err := toml.Unmarshal([]byte(document), &value); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(instance)
}

func TestSchemaTakesEveryExample(t *testing.T) {
	s := compiledSchema(t)
	block := regexp.MustCompile("(?ms)^```toml\n(.*?)^```$")
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, file := range append(files, "../../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, example := range block.FindAllStringSubmatch(string(text), -1) {
			count++
			if err := judged(t, s, example[1]); err != nil {
				t.Errorf("%s, example %d: %v", filepath.Base(file), i+1, err)
			}
		}
	}
	own, err := os.ReadFile("../../deploy.toml")
	if err != nil {
		t.Fatal(err)
	}
	if err := judged(t, s, string(own)); err != nil {
		t.Error(err)
	}
	if count < 10 {
		t.Errorf("only %d examples", count)
	}
}

// An editor marks what the decoder would refuse, as far as a schema can tell, and
// nothing that it takes.
func TestSchemaAgreesWithTheDecoder(t *testing.T) {
	s := compiledSchema(t)
	host := func(line string) string { return "[hosts.web1]\n" + line + "\n" }
	profile := func(lines string) string { return "[hosts.web1.profiles.shop]\n" + lines + "\n" }
	probe := func(lines string) string { return "[hosts.web1]\n[probes.a]\n" + lines + "\n" }
	for document, valid := range map[string]bool{
		host(``):           true,
		host(`probs = []`): false, host(`port = 22`): true, host(`port = "22"`): false, host(`port = 70000`): false, host(`port = 0`): false,
		host(`timeouts = { confirm = "90s" }`): true, host(`timeouts = { confirm = "+1m30s" }`): true, host(`timeouts = { confirm = 90 }`): false,
		host(`timeouts = { confirm = "90" }`): false, host(`timeouts = { confrim = "90s" }`): false, host(`timeouts = { confirm = "1.5m" }`): true,
		host(`tags = ["a", "a"]`): false, host(`tags = { extend = ["a"] }`): true, host(`tags = { extends = ["a"] }`): false, host(`tags = ["a b"]`): false,
		host(`elevation = "sudo"`): true, host(`elevation = "sodo"`): false, host(`elevation = ["sudo"]`): true, host(`elevation = true`): false,
		host(`elevation_password = "ask"`): true, host(`elevation_password = "secret"`): false, host(`elevation_password = { file = "x" }`): true,
		host(`elevation_password = { file = "x", command = ["y"] }`): false, host(`elevation_password = {}`): false,
		host(`ssh_options = { Port = 22, Compression = true, SendEnv = ["A", "B"] }`): true, host(`ssh_options = { Port = 2.5 }`): false, host(`ssh_options = { "a b" = "x" }`): false,
		host(`machine_id = "0123456789abcdef0123456789abcdef"`): true, host(`machine_id = "0123"`): false,
		host(`agent = "bin/agent"`): false, host(`temp_dir = "/var/tmp"`): true,
		host(`confirm = { port = 2222 }`): true, host(`confirm = { prot = 2222 }`): false,
		host(`when_reboot_needed = "boot"`): true, host(`when_reboot_needed = "reboot"`): false, host(`system = "no"`): false,
		"[hosts]": false, "flake = \".\"": false, "[hosts.\"a b\"]": false, "ssh_config = false\n[hosts.a]": true, "ssh_config = 1\n[hosts.a]": false,
		"flake = \".#web1\"\n[hosts.a]": false, "[default]\n[hosts.a]": false, "[defaults]\naddress = \"x\"\n[hosts.a]": false,
		"[tags.web]\ntags = [\"x\"]\n[hosts.a]\ntags = [\"web\"]": false, "[tags.web]\nuser = \"x\"\n[hosts.a]\ntags = [\"web\"]": true,
		"[jumps.b]\naddress = \"b\"\n[hosts.a]": true, "[jumps.b]\nadress = \"b\"\n[hosts.a]": false,
		profile("kind = \"home-manager\"\nuser = \"ann\""): true, profile(`kind = "nixoss"`): false, profile("kind = \"home-manager\"\nuser = \"ann\"\nactivate = [\"a\"]"): false,
		profile(`kind = "custom"`): false, profile("kind = \"custom\"\nattribute = \"a\"\nactivate = [\"a\"]"): true, profile("kind = \"custom\"\nattribute = \"a\"\nactivate = []"): false,
		probe("kind = \"http\"\nurl = \"https://x/\""): true, probe("kind = \"htpp\""): false, probe("kind = \"http\"\nurl = \"https://x/\"\nunit = \"x\""): false,
		probe(`kind = "http"`): false, probe("kind = \"unit\"\nunit = \"a\""): true, probe("kind = \"unit\"\nunits = [\"a\", \"b\"]"): true,
		probe("kind = \"tcp\"\naddress = \"a:1\"\npasses = 0"): false, probe("kind = \"unit\"\nunit = \"a\"\nfrom = \"deployer\""): false,
		"[hosts.a]\n[probes.hercules-ci-agent]\nstrict = true": true, "[hosts.a]\n[probes.hercules-ci-agent]\nstrikt = true": false,
		"[hosts.a]\n[probes.hercules-ci-agent]\nkind = \"tcp\"\naddress = \"a:1\"": false,
	} {
		schema, decoder := judged(t, s, document), hosts.Check("/srv/deploy.toml", []byte(document), deploy.ProbeKinds())
		if (schema == nil) != valid || (decoder == nil) != valid {
			t.Errorf("%q: valid is %v; the schema says %v; the decoder says %v", document, valid, schema, decoder)
		}
	}
}

// What the schema refuses, the decoder refuses, for all that hosts has collected.
func TestSchemaIsNoStricterThanTheDecoder(t *testing.T) {
	s := compiledSchema(t)
	files, err := filepath.Glob("../../hosts/testdata/errors/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	refused := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var value any
		if toml.Unmarshal(text, &value) != nil {
			continue
		}
		if judged(t, s, string(text)) == nil {
			continue
		}
		refused++
		if hosts.Check(file, text, deploy.ProbeKinds()) == nil {
			t.Errorf("%s: only the schema refuses it", file)
		}
	}
	if refused < 4 {
		t.Errorf("the schema refuses only %d of these files", refused)
	}
}

func TestSchemaExplainsEveryKey(t *testing.T) {
	text, err := hosts.Schema(deploy.ProbeKinds())
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	properties := root["properties"].(map[string]any)
	host := properties["hosts"].(map[string]any)["additionalProperties"].(map[string]any)
	for where, table := range map[string]map[string]any{"the file": root, "a host": host} {
		for key, s := range table["properties"].(map[string]any) {
			described := s.(map[string]any)
			if name, ok := strings.CutPrefix(fmt.Sprint(described["$ref"]), "#/definitions/"); ok {
				described = root["definitions"].(map[string]any)[name].(map[string]any)
			}
			if about := fmt.Sprint(described["description"]); !strings.HasSuffix(about, ".") {
				t.Errorf("%s of %s: description %q", key, where, about)
			}
		}
	}
}
