package display

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hbohlen/hdeploy/deploy/event"
)

// docSections returns the sections of docs/json.md by their headings.
func docSections(t *testing.T) map[string]string {
	t.Helper()
	doc, err := os.ReadFile("../../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, section := range strings.Split(string(doc), "\n## ")[1:] {
		heading, body, _ := strings.Cut(section, "\n")
		sections[heading] = body
	}
	return sections
}

// Every field of the contract stands in the table of its section.
func TestDocNamesEveryField(t *testing.T) {
	sections := docSections(t)
	for heading, typ := range map[string]reflect.Type{
		"phase": reflect.TypeFor[event.Step](), "progress": reflect.TypeFor[event.Progress](),
		"line": reflect.TypeFor[event.Line](), "note": reflect.TypeFor[event.Note](),
		"plan": reflect.TypeFor[event.Plan](), "probe": reflect.TypeFor[event.Probe](), "finding": reflect.TypeFor[event.Finding](), "deadline": reflect.TypeFor[event.Deadline](),
		"outcome": reflect.TypeFor[event.Outcome](),
	} {
		wantFields(t, heading, sections[heading], typ)
	}
	wantFields(t, "outcome", sections["outcome"], reflect.TypeFor[event.Failure]())
	wantFields(t, "outcome", sections["outcome"], reflect.TypeFor[event.Changes]())
	wantFields(t, "outcome", sections["outcome"], reflect.TypeFor[event.Reach]())
	envelope := reflect.TypeFor[event.Event]()
	for i := range envelope.NumField() {
		f := envelope.Field(i)
		name := jsonName(f)
		where := "Every event"
		if f.Type.Kind() == reflect.Pointer { // described in the section of its type
			where = map[string]string{"step": "phase"}[name]
			if where == "" {
				where = name
			}
			if !strings.Contains(sections[where], "`"+name+"`") {
				t.Errorf("the object %q is not named in section %q", name, where)
			}
			continue
		}
		if !strings.Contains(sections[where], "| `"+name+"` |") {
			t.Errorf("field %q is missing in section %q", name, where)
		}
	}
}

func wantFields(t *testing.T, heading, section string, typ reflect.Type) {
	t.Helper()
	for i := range typ.NumField() {
		f := typ.Field(i)
		row, found := "", false
		for line := range strings.Lines(section) {
			if strings.HasPrefix(line, "| `"+jsonName(f)+"` |") {
				row, found = line, true
			}
		}
		if !found {
			t.Errorf("field %q of %s has no row in section %q", jsonName(f), typ, heading)
			continue
		}
		optional := strings.Contains(f.Tag.Get("json"), ",omitempty")
		if optional != strings.Contains(row, "optional") {
			t.Errorf("field %q of %s: the row does not say rightly whether it is optional: %s", jsonName(f), typ, row)
		}
	}
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// Every example is what the program could have written.
func TestDocExamplesParse(t *testing.T) {
	for heading, section := range docSections(t) {
		if strings.HasPrefix(heading, "hdeploy ") || heading == "Every event" {
			continue // answers of commands: tested beside them
		}
		examples := 0
		for line := range strings.Lines(section) {
			if !strings.HasPrefix(line, "{") {
				continue
			}
			examples++
			checkExample(t, heading, line)
		}
		if examples == 0 {
			t.Errorf("section %q has no example", heading)
		}
	}
}

func checkExample(t *testing.T, heading, line string) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(line))
	decoder.DisallowUnknownFields()
	var e schemaEvent
	if err := decoder.Decode(&e); err != nil {
		t.Errorf("%s: %v: %s", heading, err, line)
		return
	}
	if e.Schema != event.Schema || e.Type != heading || e.Time.Before(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%s: schema %d, type %q, time %v", heading, e.Schema, e.Type, e.Time)
	}
	set := 0
	for _, p := range []bool{e.Step != nil, e.Progress != nil, e.Line != nil, e.Note != nil, e.Plan != nil, e.Probe != nil, e.Finding != nil, e.Deadline != nil, e.Outcome != nil} {
		if p {
			set++
		}
	}
	if set != 1 {
		t.Errorf("%s: %d objects in one event: %s", heading, set, line)
	}
	again, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if string(again) != strings.TrimSpace(line) {
		t.Errorf("%s: the program would write\n%s\nand not\n%s", heading, again, line)
	}
}
