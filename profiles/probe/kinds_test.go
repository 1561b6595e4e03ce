package probe

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

// What the catalogue says of a kind's parameters must be what its JSON has.
func TestCatalogueIsTheParameters(t *testing.T) {
	for _, k := range kinds() {
		if k.Text == "" || len(k.Vantages) == 0 {
			t.Errorf("%s says nothing of itself: %+v", k.Kind, k.About)
		}
		// Evaluation alone says this; nobody writes it down.
		sameParams(t, k.Kind, k.Params, reflect.TypeOf(k.question()).Elem(), "not_configured")
	}
}

func sameParams(t *testing.T, where string, params []Param, of reflect.Type, internal ...string) {
	t.Helper()
	fields := map[string]reflect.Type{}
	for _, field := range reflect.VisibleFields(of) {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); !field.Anonymous {
			fields[name] = field.Type
		}
	}
	for _, name := range internal {
		delete(fields, name)
	}
	for _, p := range params {
		field, ok := fields[p.Name]
		if !ok {
			t.Errorf("%s: nothing takes the parameter %s", where, p.Name)
			continue
		}
		delete(fields, p.Name)
		if p.Text == "" {
			t.Errorf("%s: %s is not explained", where, p.Name)
		}
		if want := typeName(field); want != p.Type {
			t.Errorf("%s: %s is a %s, and called a %s", where, p.Name, want, p.Type)
		}
		if p.Type == Tables {
			sameParams(t, where+" "+p.Name, p.Of, field.Elem())
		}
	}
	for name := range fields {
		t.Errorf("%s: the catalogue does not have %s", where, name)
	}
}

func typeName(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return Duration
	case t.Kind() == reflect.String:
		return Text
	case t.Kind() == reflect.Bool, t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Bool:
		return Flag
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int64, t.Kind() == reflect.Pointer:
		return Number
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.String:
		return Texts
	}
	return Tables
}

func TestUnmarshalRefusesWhatItDoesNotKnow(t *testing.T) {
	for text, want := range map[string]string{
		`{"name":"a","kind":"crystal-ball"}`:              "unknown kind",
		`{"name":"a","kind":"tcp","ask":{"address":1}}`:   "address",
		`{"name":"a","kind":"tcp","ask":["127.0.0.1:1"]}`: "cannot unmarshal",
	} {
		var s Spec
		if err := json.Unmarshal([]byte(text), &s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}
