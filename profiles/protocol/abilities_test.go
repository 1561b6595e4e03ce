package protocol

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

type wish struct {
	Text  string   `json:"text,omitempty"`
	Twice bool     `json:"twice,omitempty" needs:"twice"`
	Hint  string   `json:"hint,omitempty" needs:"-"`
	Parts []wish   `json:"parts,omitempty"`
	Named *nothing `json:"named,omitempty"`
}

type nothing struct {
	Loud bool `json:"loud,omitempty" needs:"loud"`
}

func TestWhatAnOldAgentWouldIgnoreIsNotAskedOfIt(t *testing.T) {
	for _, c := range []struct {
		name      string
		abilities []string
		ask       any
		missing   string
	}{
		{"nothing new", nil, wish{Text: "x"}, ""},
		{"a hint", nil, wish{Hint: "x"}, ""},
		{"a promise", nil, wish{Twice: true}, "twice"},
		{"a promise that it keeps", []string{"x-grease", "twice"}, wish{Twice: true}, ""},
		{"a promise within", nil, wish{Parts: []wish{{}, {Named: &nothing{Loud: true}}}}, "loud"},
		{"a pointer", []string{"loud"}, &wish{Named: &nothing{Loud: true}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			near, far := pair(t)
			called := 0
			go func() {
				peer := Hello{Protocol: Version, Program: "0.0.9", Extensions: c.abilities}
				_ = Serve(context.Background(), far, far, peer, func(context.Context, string, json.RawMessage, func(any) error) (any, error) {
					called++
					return called, nil
				})
			}()
			client := NewClient(near, Hello{Protocol: Version, Program: "1.2.3"})
			var count int
			if err := client.Call(within(t), "first", nil, &count, nil); err != nil {
				t.Fatal(err)
			}
			able := client.Able(c.ask)
			err := client.Call(within(t), "ask", c.ask, &count, nil)
			if (able == nil) != (err == nil) {
				t.Errorf("it is called able (%v), and answers %v", able, err)
			}
			var unable *Error
			switch {
			case c.missing == "" && (err != nil || count != 2):
				t.Errorf("got %v", err)
			case c.missing != "" && (!errors.As(err, &unable) || unable.Code != CodeUnable || !strings.Contains(err.Error(), `"`+c.missing+`"`) || !strings.Contains(err.Error(), "0.0.9")):
				t.Errorf("got %v", err)
			}
			if err := client.Call(within(t), "last", nil, &count, nil); err != nil || c.missing != "" && count != 2 {
				t.Errorf("after a refusal the agent answers the %d. call, %v", count, err)
			}
		})
	}
}

func TestNothingNewIsAskedBeforeTheAgentIsKnown(t *testing.T) {
	near, _ := pair(t)
	err := NewClient(near, own).Call(within(t), "first", wish{Twice: true}, nil, nil)
	if unable, ok := errors.AsType[*Error](err); !ok || unable.Code != CodeUnable {
		t.Errorf("got %v", err)
	}
}

// The next protocol's client and this agent, and the other way round, over the real
// code of both.
func TestNeighboursTalk(t *testing.T) {
	for _, c := range [][2]int{{Version, Version + 1}, {Version + 1, Version}} {
		near, far := pair(t)
		go func() {
			_ = Serve(context.Background(), far, far, Hello{Protocol: c[1], Program: "agent"}, answer)
		}()
		client := NewClient(near, Hello{Protocol: c[0], Program: "hdeploy"})
		var said echo
		if err := client.Call(within(t), "echo", echo{"hello"}, &said, nil); err != nil || said.Text != "hello" || client.Peer.Protocol != c[1] {
			t.Errorf("%d to %d: %q, %v", c[0], c[1], said.Text, err)
		}
	}
}

var update = flag.Bool("update", false, "accept the fields of the requests as they are now; only before a release")

// fieldsFile lists every field of the requests of the released protocol.
var fieldsFile = filepath.Join("testdata", "fields.txt")

// An agent of the last release ignores a field that it does not know. So each new field
// says what an agent must be able to do for it, or that ignoring it breaks no promise.
func TestEveryNewFieldSaysWhatItNeeds(t *testing.T) {
	now := map[string]string{}
	for _, request := range []any{
		FactsRequest{}, MissingRequest{}, LogRequest{}, StartRequest{}, WatchRequest{}, DecideRequest{}, ProbeRequest{},
		RebootRequest{}, RollbackRequest{}, RecallRequest{}, DryActivateRequest{}, PushRequest{}, CheckRequest{},
		GenerationsRequest{}, HistoryRequest{}, ActivationLogRequest{}, JournalRequest{}, FreezeRequest{},
	} {
		fieldsOf(reflect.TypeOf(request), reflect.TypeOf(request).Name(), now)
	}
	names := make([]string, 0, len(now))
	for name := range now {
		names = append(names, name)
	}
	slices.Sort(names)
	if *update {
		if err := os.WriteFile(fieldsFile, []byte(strings.Join(names, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(fieldsFile)
	if err != nil {
		t.Fatal(err)
	}
	released := strings.Fields(string(text))
	for _, name := range names {
		if !slices.Contains(released, name) && now[name] == "" {
			t.Errorf("%s is new: say with the tag `needs` what an agent must be able to do", name)
		}
	}
	for _, name := range released {
		if _, ok := now[name]; !ok {
			t.Errorf("%s is gone: hosts with the agent of the last release still send or read it", name)
		}
	}
}

func fieldsOf(of reflect.Type, path string, into map[string]string) {
	switch of.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		fieldsOf(of.Elem(), path, into)
	case reflect.Struct:
		if of == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range of.NumField() {
			field := of.Field(i)
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if !field.IsExported() || name == "-" {
				continue
			}
			if field.Anonymous && name == "" {
				fieldsOf(field.Type, path, into)
				continue
			}
			if name == "" {
				name = field.Name
			}
			into[path+"."+name] = field.Tag.Get("needs")
			fieldsOf(field.Type, path+"."+name, into)
		}
	default:
	}
}
