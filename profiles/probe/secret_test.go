package probe

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"
)

// marker stands in every secret of these tests, and nowhere in what is told.
const marker = "MARKER7f3a"

func jwt(header, payload, signature string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(header)) + "." + encode([]byte(payload)) + "." + encode([]byte(signature))
}

func sshKey(t testing.TB) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, marker)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block))
}

func TestSecret(t *testing.T) {
	token := jwt(`{"alg":"HS256"}`, `{"sub":"`+marker+`"}`, marker)
	key := sshKey(t)
	const people = `{"$schema":"x","type":"object","additionalProperties":{"type":"object","required":["key"],"properties":{"key":{"type":"string"}}}}`
	for _, c := range []struct {
		name, content  string
		mode           os.FileMode
		spec           SecretSpec
		verdict, class string
	}{
		{"any", marker, 0o600, SecretSpec{}, Pass, ""},
		{"empty", "", 0o600, SecretSpec{}, Fail, "empty-file"},
		{"blank", " \n", 0o600, SecretSpec{}, Fail, "empty-file"},
		{"open to others", marker, 0o604, SecretSpec{}, Fail, "mode"},
		{"open to others as wanted", marker, 0o644, SecretSpec{FileSpec: FileSpec{Mode: "0644"}}, Pass, ""},
		{"group may read", marker, 0o640, SecretSpec{}, Pass, ""},
		{"too small", marker, 0o600, SecretSpec{FileSpec: FileSpec{SizeLeast: 17}}, Fail, "size"},
		{"reference", "op://" + marker + "/item/field\n", 0o600, SecretSpec{}, Fail, "reference"},
		{"jwt", token + "\n", 0o600, SecretSpec{Shape: "jwt"}, Pass, ""},
		{"two parts", marker + "." + marker, 0o600, SecretSpec{Shape: "jwt"}, Fail, "not-jwt"},
		{"parts that are no JSON", marker + "." + marker + "." + marker, 0o600, SecretSpec{Shape: "jwt"}, Fail, "not-jwt"},
		{"no algorithm", jwt(`{}`, `{"sub":"`+marker+`"}`, "x"), 0o600, SecretSpec{Shape: "jwt"}, Fail, "not-jwt"},
		{"no signature", jwt(`{"alg":"none"}`, `{"sub":"`+marker+`"}`, ""), 0o600, SecretSpec{Shape: "jwt"}, Fail, "not-jwt"},
		{"payload that is a list", jwt(`{"alg":"HS256"}`, `["`+marker+`"]`, "x"), 0o600, SecretSpec{Shape: "jwt"}, Fail, "not-jwt"},
		{"json", `{"a":"` + marker + `"}`, 0o600, SecretSpec{Shape: "json"}, Pass, ""},
		{"broken json", `{"` + marker + `":"` + marker, 0o600, SecretSpec{Shape: "json"}, Fail, "not-json"},
		{"json that begins wrong", marker, 0o600, SecretSpec{Shape: "json"}, Fail, "not-json"},
		{"schema", `{"` + marker + `":{"key":"x"}}`, 0o600, SecretSpec{Schema: people}, Pass, ""},
		{"broken json for a schema", `{"` + marker, 0o600, SecretSpec{Schema: people}, Fail, "not-json"},
		{"lacks a key", `{"` + marker + `":{"` + marker + `":1}}`, 0o600, SecretSpec{Schema: people}, Fail, "schema"},
		{"a key of another type", `{"` + marker + `":{"key":["` + marker + `"]}}`, 0o600, SecretSpec{Schema: people}, Fail, "schema"},
		{"pem", key + key, 0o600, SecretSpec{Shape: "pem"}, Pass, ""},
		{"pem after something else", marker + "\n" + key, 0o600, SecretSpec{Shape: "pem"}, Fail, "not-pem"},
		{"pem cut off", key[:len(key)/2] + marker, 0o600, SecretSpec{Shape: "pem"}, Fail, "not-pem"},
		{"ssh key", key, 0o600, SecretSpec{Shape: "ssh-key"}, Pass, ""},
		{"ssh key cut off", key[:len(key)/2] + marker, 0o600, SecretSpec{Shape: "ssh-key"}, Fail, "not-ssh-key"},
		{"certificate", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(marker)})), 0o600, SecretSpec{Shape: "ssh-key"}, Fail, "not-ssh-key"},
		{"beyond what is read", strings.Repeat(marker, secretLimit/len(marker)+1), 0o600, SecretSpec{}, Fail, "unreadable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := quick(KindSecret)
			spec := ask[SecretSpec](s)
			spec.Shape, spec.Schema, spec.Mode = c.spec.Shape, c.spec.Schema, c.spec.Mode
			spec.SizeLeast = max(spec.SizeLeast, c.spec.SizeLeast)
			spec.Path = filepath.Join(t.TempDir(), "secret")
			if err := os.WriteFile(spec.Path, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(spec.Path, c.mode); err != nil {
				t.Fatal(err)
			}
			r := runOne(t, s, newStandIn(t).host(nil))
			r.want(t, c.verdict, c.class, "")
			told(t, r)
		})
	}
}

// told looks for the marker in all that is told of a probe.
func told(t *testing.T, r Result) {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), marker) {
		t.Errorf("a secret is told: %s", text)
	}
}

func TestSecretThatIsNoFile(t *testing.T) {
	dir := place(t)
	for name, class := range map[string]string{"no": "missing-file", "directory": "type", "fifo": "type", "socket": "type"} {
		s := quick(KindSecret)
		ask[SecretSpec](s).Path = filepath.Join(dir, name)
		runOne(t, s, newStandIn(t).host(nil)).want(t, Fail, class, "")
	}
	s := quick(KindSecret)
	ask[SecretSpec](s).Path, ask[SecretSpec](s).Absent = filepath.Join(dir, "no"), true
	runOne(t, s, newStandIn(t).host(nil)).want(t, Pass, "", "")
	ask[SecretSpec](s).Path = filepath.Join(dir, "file")
	runOne(t, s, newStandIn(t).host(nil)).want(t, Fail, "present", "")
}

func TestSchema(t *testing.T) {
	for _, c := range []struct{ schema, document, want string }{
		{`{}`, `1`, ""},
		{`true`, `1`, ""},
		{`false`, `1`, "must not be there"},
		{`{"type":"object"}`, `{}`, ""},
		{`{"type":"object"}`, `[]`, "not of type object"},
		{`{"type":["string","null"]}`, `null`, ""},
		{`{"type":["string","null"]}`, `1`, "not of type string or null"},
		{`{"type":"integer"}`, `1.0`, ""},
		{`{"type":"integer"}`, `1.5`, "not of type integer"},
		{`{"type":"number"}`, `1.5e3`, ""},
		{`{"type":"boolean"}`, ` true `, ""},
		{`{"type":"array","items":{"type":"string"},"minItems":1}`, `["a"]`, ""},
		{`{"type":"array","items":{"type":"string"}}`, `["a",1]`, "an item of the document is not of type string"},
		{`{"minItems":1}`, `[]`, "fewer than 1 items"},
		{`{"minProperties":1}`, `{}`, "fewer than 1 members"},
		{`{"minLength":3}`, `"äö"`, "shorter"},
		{`{"minLength":3}`, `"äöü"`, ""},
		{`{"minLength":3}`, `1`, ""},
		{`{"required":["a"]}`, `{"b":1}`, `has no "a"`},
		{`{"required":["a"]}`, `1`, ""},
		{`{"properties":{"a":{"const":"x"}}}`, `{"a":"y"}`, `"a" in the document is not the constant`},
		{`{"properties":{"a":{"const":"x"}}}`, `{"a":"x"}`, ""},
		{`{"enum":[1,"a",{"b":[1]}]}`, `{ "b": [1] }`, ""},
		{`{"enum":[1,"a"]}`, `"c"`, "none of the values"},
		{`{"anyOf":[{"type":"string"},{"type":"null"}]}`, `null`, ""},
		{`{"anyOf":[{"type":"string"},{"type":"null"}]}`, `1`, "fits none"},
		{`{"properties":{"a":{}},"additionalProperties":false}`, `{"a":1}`, ""},
		{`{"properties":{"a":{}},"additionalProperties":false}`, `{"a":1,"secret":2}`, "a member that the schema does not name"},
	} {
		s, err := parseSchema(c.schema)
		if err != nil {
			t.Errorf("%s: %v", c.schema, err)
			continue
		}
		got := s.check([]byte(c.document))
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) || strings.Contains(got, "secret") {
			t.Errorf("%s of %s: got %q, want %q", c.schema, c.document, got, c.want)
		}
	}
	for _, text := range []string{``, `null`, `[]`, `{"type":"text"}`, `{"minItems":-1}`, `{"pattern":"a"}`, `{"properties":{"a":{"oneOf":[]}}}`,
		`{"properties":{"a":null}}`, `{"anyOf":[null]}`, `{"anyOf":[]}`, `{"enum":[]}`,
		strings.Repeat(`{"items":`, 40) + `{}` + strings.Repeat(`}`, 40), `{"title":"` + strings.Repeat("x", longestSchema) + `"}`} {
		if _, err := parseSchema(text); err == nil {
			t.Errorf("%.60s was taken", text)
		}
	}
}

// Neither a schema nor a document makes the judgement say what it was not told
// by the schema.
func FuzzSchema(f *testing.F) {
	f.Add(`{"type":"object","additionalProperties":{"required":["a"]}}`, `{"x":{"b":[1,null,"t"]}}`)
	f.Add(`{"anyOf":[{"items":{"enum":[1]}},{"properties":{"a":false}}]}`, `[[],{"a":1e999}]`)
	f.Add(`{"const":null,"minLength":2}`, `"\ud800"`)
	f.Fuzz(func(t *testing.T, text, document string) {
		s, err := parseSchema(text)
		if err != nil || !json.Valid([]byte(document)) {
			return
		}
		marked := `{"` + marker + `":` + document + `,"a":"` + marker + `","b":["` + marker + `"]}`
		if said := s.check([]byte(marked)); strings.Contains(said, marker) && !strings.Contains(text, marker) {
			t.Errorf("%q", said)
		}
	})
}

// FuzzSecret puts the marker into any content of any shape.
func FuzzSecret(f *testing.F) {
	f.Add([]byte(`{"a":`), 6, 1)
	f.Add([]byte(jwt(`{"alg":"HS256"}`, `{}`, "x")), 3, 0)
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), 30, 2)
	f.Add([]byte("op://a/b/c"), 5, 3)
	f.Fuzz(func(t *testing.T, content []byte, at, shape int) {
		if at < 0 || at > len(content) || shape < 0 {
			return
		}
		marked := append(append(append([]byte(nil), content[:at]...), marker...), content[at:]...)
		s := Defaults(KindSecret)
		spec := ask[SecretSpec](s)
		spec.Path, spec.Shape = "/secret", shapes()[shape%len(shapes())]
		for _, schema := range []string{"", `{"type":"object","additionalProperties":{"type":"string"}}`} {
			if spec.Schema = schema; schema != "" {
				spec.Shape = shapeJSON
			}
			if f := spec.shapeFlaw(marked); f.found() {
				told(t, f.finding().result(s))
			}
		}
	})
}

// Whoever owns the agent's directory may put a pipe in the place of a file, and hold
// it open without a word.
func TestReadSecretDoesNotWaitForAPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "session.key")
	must(t, syscall.Mkfifo(path, 0o600))
	writer, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer writer.Close()
	if _, err := readSecret(path); err == nil || !strings.Contains(err.Error(), "named pipe") {
		t.Errorf("got %v", err)
	}
}
