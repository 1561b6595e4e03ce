package probe

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// SecretSpec asks what a [FileSpec] asks, and for the shape of the content.
//
// No byte of the content leaves [shapeFlaw]: what it says is made of words of
// this program and of the schema, and never of an error that may quote the
// content, as those of encoding/json do. Not even the size is told.
type SecretSpec struct {
	FileSpec
	// Shape is one of the shapes; empty for any.
	Shape string `json:"shape,omitempty"`
	// Schema is what JSON must fit, in the part of JSON Schema that [schema] knows.
	Schema string `json:"schema,omitempty"`
}

// The shapes of secrets.
const (
	shapeJWT    = "jwt"
	shapeJSON   = "json"
	shapePEM    = "pem"
	shapeSSHKey = "ssh-key"
)

func shapes() []string { return []string{shapeJWT, shapeJSON, shapePEM, shapeSSHKey} }

func secretKind() kind {
	return kind{
		About: About{
			Kind: KindSecret, Vantages: []string{FromHost},
			Text: "a file with a secret is there, is not empty and no reference to a secret, is private, and has the shape it should have; its content is never told",
			Params: append(fileParams(),
				Param{Name: "shape", Type: Text, Words: shapes(), Text: "what the content looks like: a signed token, JSON, PEM, or a private SSH key"},
				Param{Name: "schema", Type: Text, Text: "a JSON Schema (type, enum, const, anyOf, required, properties, additionalProperties, items, minItems, minProperties, minLength) that the content fits"},
			),
		},
		question: func() Question { return &SecretSpec{FileSpec: FileSpec{Type: "file", SizeLeast: 1, Follow: true}} },
	}
}

func (s *SecretSpec) validate() error {
	errs := []error{s.validateFile()}
	if s.Shape != "" && !slices.Contains(shapes(), s.Shape) {
		errs = append(errs, fmt.Errorf("shape must be one of %s, not %q", strings.Join(shapes(), ", "), clean(s.Shape)))
	}
	if s.Schema != "" {
		if s.Shape != "" && s.Shape != shapeJSON {
			errs = append(errs, fmt.Errorf("only %s has a schema, not %s", shapeJSON, s.Shape))
		}
		if _, err := parseSchema(s.Schema); err != nil {
			errs = append(errs, fmt.Errorf("schema: %v", err))
		}
	}
	if (s.Shape != "" || s.Schema != "") && (s.Absent || s.Type != "file") {
		errs = append(errs, errors.New("only the content of a file has a shape"))
	}
	return errors.Join(errs...)
}

// validateFile passes over what only this kind has as defaults.
func (s *SecretSpec) validateFile() error {
	f := s.FileSpec
	if f.Absent {
		f.Type, f.SizeLeast = "", 0
	}
	return f.validate()
}

func (s *SecretSpec) try(ctx context.Context, a attempt) finding {
	return within(ctx, s.Path, func() finding { return s.judge(a) })
}

func (s *SecretSpec) judge(a attempt) finding {
	info, f := s.look(a)
	if f.class == "size" {
		f.seen = "it has another size"
	}
	if f.verdict != Pass || info == nil || !info.Mode().IsRegular() {
		return f
	}
	if private := s.privateFlaw(info); private.found() {
		return private.finding()
	}
	content, err := readSecret(s.Path)
	if err != nil {
		return unreadable(s.Path, err)
	}
	if found := s.shapeFlaw(content); found.found() {
		return found.finding()
	}
	return f
}

// privateFlaw wants a file that others have no part in, where no mode is given.
func (s *SecretSpec) privateFlaw(info fs.FileInfo) flaw {
	if s.Mode != "" || modeOf(info)&0o007 == 0 {
		return flaw{}
	}
	return flaw{"mode", s.Path + " is closed to others", fmt.Sprintf("mode %04o", modeOf(info)), "chmod o= " + s.Path}
}

func (s *SecretSpec) shapeFlaw(content []byte) flaw {
	content = bytes.TrimSpace(content)
	switch {
	case len(content) == 0 && s.SizeLeast > 0:
		return flaw{"empty-file", s.Path + " is not empty", "it holds nothing but blanks", ""}
	case bytes.HasPrefix(content, []byte("op://")):
		return flaw{"reference", s.Path + " holds a secret", "it holds a reference to one", "let the reference be resolved: OpNix, or op inject"}
	case s.Schema != "":
		return s.schemaFlaw(content)
	}
	shape, fits := map[string]struct {
		name string
		fits func([]byte) bool
	}{
		shapeJWT:    {"a signed token (JWT) of three parts", isJWT},
		shapeJSON:   {"JSON", json.Valid},
		shapePEM:    {"PEM blocks and nothing else", isPEM},
		shapeSSHKey: {"a private SSH key", isSSHKey},
	}[s.Shape]
	if !fits || shape.fits(content) {
		return flaw{}
	}
	return flaw{"not-" + s.Shape, s.Path + " holds " + shape.name, "it does not", ""}
}

func (s *SecretSpec) schemaFlaw(content []byte) flaw {
	expected := s.Path + " holds JSON that fits its schema"
	if !json.Valid(content) {
		return flaw{"not-json", expected, "it is not JSON", ""}
	}
	wanted, err := parseSchema(s.Schema)
	if err != nil {
		return flaw{"invalid", expected, "the schema cannot be read", ""}
	}
	if problem := wanted.check(content); problem != "" {
		return flaw{"schema", expected, problem, ""}
	}
	return flaw{}
}

// isJWT says whether content is a JSON Web Token in its compact form (RFC 7519):
// header and payload are objects of JSON, the header names an algorithm, and
// there is a signature. Whether that is right only the service can say.
func isJWT(content []byte) bool {
	parts := strings.Split(string(content), ".")
	if len(parts) != 3 {
		return false
	}
	var header, payload map[string]json.RawMessage
	if !decodePart(parts[0], &header) || !decodePart(parts[1], &payload) {
		return false
	}
	var algorithm string
	if json.Unmarshal(header["alg"], &algorithm) != nil || algorithm == "" {
		return false
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	return err == nil && len(signature) > 0
}

func decodePart(part string, into *map[string]json.RawMessage) bool {
	text, err := base64.RawURLEncoding.DecodeString(part)
	return err == nil && json.Unmarshal(text, into) == nil && *into != nil
}

func isPEM(content []byte) bool {
	blocks := 0
	for len(content) > 0 {
		block, rest := pem.Decode(content)
		// Decode skips what stands before a block: a key that is cut off, too.
		if block == nil || !bytes.HasPrefix(content, []byte("-----BEGIN "+block.Type+"-----")) {
			return false
		}
		blocks++
		content = bytes.TrimSpace(rest)
	}
	return blocks > 0
}

// isSSHKey knows OpenSSH's own format by its first bytes (PROTOCOL.key) and the
// older ones by their names.
func isSSHKey(content []byte) bool {
	block, rest := pem.Decode(content)
	if block == nil || len(bytes.TrimSpace(rest)) > 0 || !bytes.HasPrefix(content, []byte("-----BEGIN ")) {
		return false
	}
	switch block.Type {
	case "OPENSSH PRIVATE KEY":
		return bytes.HasPrefix(block.Bytes, []byte("openssh-key-v1\x00"))
	case "RSA PRIVATE KEY", "EC PRIVATE KEY", "DSA PRIVATE KEY", "PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
		return len(block.Bytes) > 0
	}
	return false
}
