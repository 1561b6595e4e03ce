package main

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
)

// The answers of commands stand in docs/json.md, field by field, each with an
// example that the program could have printed.
func TestDocOfAnswers(t *testing.T) {
	doc, err := os.ReadFile("../../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	for heading, answer := range map[string]any{
		"hosts": &hostJSON{}, "config": &configJSON{}, "init": &initJSON{}, "version": &versionJSON{}, "effect": &effectJSON{}, "status": &statusJSON{}, "generations": &generationJSON{},
		"history": &transactionJSON{}, "log": &logJSON{}, "lock": &lockJSON{}, "trust": &trustJSON{}, "probe --list": &probeKindJSON{},
	} {
		_, after, found := strings.Cut(string(doc), "\n## hdeploy "+heading+" --json\n")
		if !found {
			t.Errorf("no section about hdeploy %s --json", heading)
			continue
		}
		section, _, _ := strings.Cut(after, "\n## ")
		typ := reflect.TypeOf(answer).Elem()
		for _, field := range reflect.VisibleFields(typ) {
			name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
			if field.Anonymous || name == "-" || name == "schema" || name == "type" {
				continue
			}
			_, row, found := strings.Cut(section, "\n| `"+name+"` |")
			row, _, _ = strings.Cut(row, "\n")
			if !found {
				t.Errorf("hdeploy %s: field %q is missing", heading, name)
			} else if strings.Contains(row, ", optional |") != (options != "") {
				t.Errorf("hdeploy %s: field %q: the row does not say rightly whether it is optional: %s", heading, name, row)
			}
		}
		example := section[strings.Index(section, "\n{")+1:]
		example, _, _ = strings.Cut(example, "\n")
		decoder := json.NewDecoder(strings.NewReader(example))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(answer); err != nil {
			t.Fatalf("hdeploy %s: %v", heading, err)
		}
		again, err := jsonLine(answer)
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(string(again)) != example {
			t.Errorf("hdeploy %s would print\n%s\nand not\n%s", heading, again, example)
		}
	}
}
