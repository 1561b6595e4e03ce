package protocol

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// abilities are what this agent can do beyond the first release of the protocol, as its
// banner says: the [Hello.Extensions]. A field of a request that is a promise, and that an older agent would
// ignore, has the tag `needs:"ability"`: [Client.Call] does not send it to an agent
// without that ability. A field that an old agent may ignore has `needs:"-"`. A new
// method needs no ability: an old agent refuses it by itself.
func abilities() []string { return []string{"alone"} }

// Own is the banner of this program.
func Own() Hello { return Hello{Protocol: Version, Program: Release, Extensions: abilities()} }

// able returns an [*Error] with [CodeUnable] for the first field of a request that the
// peer is too old for.
func able(own, peer Hello, request any) error {
	lacks := ""
	eachNeed(reflect.ValueOf(request), func(field, ability string) {
		if lacks == "" && !slices.Contains(peer.Extensions, ability) {
			lacks = field
		}
	})
	if lacks == "" {
		return nil
	}
	return &Error{Code: CodeUnable, Message: fmt.Sprintf("the agent on the host (hdeploy %s, protocol %d) does not know %q, which this hdeploy (%s, protocol %d) would ask of it; it was not asked",
		peer.Program, peer.Protocol, lacks, own.Program, own.Protocol)}
}

// Able says why the agent cannot be asked this, as [Client.Call] would, and sends nothing.
// It is to be asked after a first call.
func (c *Client) Able(request any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return able(c.own, c.Peer, request)
}

// eachNeed calls need for each field that says something and needs an ability.
func eachNeed(v reflect.Value, need func(field, ability string)) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			eachNeed(v.Elem(), need)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			eachNeed(v.Index(i), need)
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			eachNeed(v.MapIndex(key), need)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			if !field.IsExported() || v.Field(i).IsZero() {
				continue
			}
			if ability := field.Tag.Get("needs"); ability != "" && ability != "-" {
				name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
				need(name, ability)
			}
			eachNeed(v.Field(i), need)
		}
	default:
	}
}
