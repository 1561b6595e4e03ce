package reach

import (
	"maps"
	"slices"
	"strings"
)

// nftReduction leaves of a rule what may matter to the packets.
type nftReduction struct {
	ruleset *nftRuleset
	packets packets
	rule    nftRule
}

// silent are expressions that decide nothing.
var silent = []string{"counter", "log", "last", "comment"}

// reduce returns the expressions that are left; not ok for a rule that the packets never
// meet, or that does nothing to them. A redirection to the port stays whole: where it
// leads, a connection to another port ends at sshd.
func (n nftReduction) reduce() (left []any, ok bool) {
	acts := false
	for _, expression := range n.rule.Expr {
		for kind, value := range expression {
			if slices.Contains(silent, kind) {
				continue
			}
			switch kind {
			case "match":
				kept, m := n.condition(value)
				if m == never {
					return n.whole(), n.redirects()
				}
				if m == maybe {
					left = append(left, map[string]any{"match": kept})
				}
				continue
			case "vmap":
				value = n.verdicts(value)
			case "quota":
				if object, ok := value.(map[string]any); ok {
					delete(object, "used")
				}
			default:
				value = n.withSets(value)
			}
			acts = true
			left = append(left, map[string]any{kind: value})
		}
	}
	return left, acts
}

func (n nftReduction) whole() []any {
	var all []any
	for _, e := range n.rule.Expr {
		all = append(all, e)
	}
	return all
}

func (n nftReduction) redirects() bool {
	for _, e := range n.rule.Expr {
		if redirect, ok := e["redirect"].(map[string]any); ok && n.value(sidePort, redirect["port"]) != never {
			return true
		}
	}
	return false
}

// refuses says whether the rule drops or rejects.
func (n nftReduction) refuses() bool {
	return slices.ContainsFunc(n.rule.Expr, func(e map[string]any) bool {
		_, drops := e["drop"]
		_, rejects := e["reject"]
		return drops || rejects
	})
}

// side is what the left of a condition is about.
type side int

const (
	sideUnknown side = iota
	sidePort
	sideProtocol
	sideOwnAddress
	sidePeer
	sideInterface
	sideElse // a part of packets that are no TCP
)

// othersThanTCP are protocols whose fields TCP does not have: to ask for one is to ask
// for the protocol.
var othersThanTCP = []string{"udp", "udplite", "sctp", "dccp", "icmp", "icmpv6", "igmp", "esp", "ah", "comp", "gre", "vxlan", "arp"}

func (n nftReduction) side(left any) side {
	object, _ := left.(map[string]any)
	if meta, ok := object["meta"].(map[string]any); ok {
		switch key := meta["key"]; {
		case key == "l4proto":
			return sideProtocol
		case key == "iifname" && !n.packets.answers, key == "oifname" && n.packets.answers:
			return sideInterface
		}
	}
	payload, ok := object["payload"].(map[string]any)
	if !ok {
		return sideUnknown
	}
	protocol, _ := payload["protocol"].(string)
	field, _ := payload["field"].(string)
	ownPort, ownAddress, peer := "dport", "daddr", "saddr"
	if n.packets.answers {
		ownPort, ownAddress, peer = "sport", "saddr", "daddr"
	}
	switch {
	case slices.Contains(othersThanTCP, protocol):
		return sideElse
	case (protocol == "tcp" || protocol == "th") && field == ownPort:
		return sidePort
	case protocol == "ip" && field == "protocol", protocol == "ip6" && field == "nexthdr":
		return sideProtocol
	case (protocol == "ip" || protocol == "ip6") && field == ownAddress:
		return sideOwnAddress
	case (protocol == "ip" || protocol == "ip6") && field == peer:
		return sidePeer
	}
	return sideUnknown
}

// condition reduces {"op": …, "left": …, "right": …}.
func (n nftReduction) condition(value any) (any, match) {
	object, ok := value.(map[string]any)
	if !ok {
		return value, maybe
	}
	op, left, right := object["op"], object["left"], object["right"]
	if n.side(left) == sideElse {
		return nil, never
	}
	if op == "==" && n.side(left) == sidePeer && n.refuses() {
		right = n.withoutBans(right)
	}
	kept, m := n.reduceRight(left, right)
	switch op {
	case "==":
	case "!=":
		m = m.not()
	default:
		kept, m = n.withSets(right), maybe
	}
	return map[string]any{"op": op, "left": left, "right": kept}, m
}

// reduceRight leaves of a set what the packets may match.
func (n nftReduction) reduceRight(left, right any) (any, match) {
	elements, isSet := n.elements(right)
	if !isSet {
		return right, n.of(left, right)
	}
	var kept []any
	result := never
	if n.changing(right) {
		result = maybe
		kept = append(kept, right)
	}
	for _, e := range elements {
		e, transient := element(e)
		if transient {
			continue
		}
		switch n.of(left, e) {
		case surely:
			return right, surely
		case maybe:
			result = maybe
			kept = append(kept, e)
		default:
		}
	}
	return map[string]any{"set": sorted(kept)}, result
}

// changing says whether the value names a set that packets fill, or programs for a while,
// which may have anybody in it: who is let in by it is not told from nobody. What only refuses those in it is a ban.
func (n nftReduction) changing(value any) bool {
	given, _ := value.(string)
	name, ok := strings.CutPrefix(given, "@")
	return ok && n.ruleset.sets[nftName{n.rule.Family, n.rule.Table, name}].changes
}

func sorted(list []any) []any {
	slices.SortFunc(list, func(a, b any) int { return strings.Compare(text(a), text(b)) })
	return list
}

// elements are those of {"set": [...]}, or of the set that "@NAME" names.
func (n nftReduction) elements(value any) ([]any, bool) {
	switch v := value.(type) {
	case string:
		if name, ok := strings.CutPrefix(v, "@"); ok {
			s, known := n.ruleset.sets[nftName{n.rule.Family, n.rule.Table, name}]
			return s.Elem, known
		}
	case map[string]any:
		list, ok := v["set"].([]any)
		if !ok && v["set"] != nil {
			return []any{v["set"]}, true
		}
		return list, ok
	}
	return nil, false
}

// element takes an element out of {"elem": {"val": …}}; one that goes by itself is
// transient.
func element(e any) (value any, transient bool) {
	object, _ := e.(map[string]any)
	inner, ok := object["elem"].(map[string]any)
	if !ok {
		return e, false
	}
	_, expires := inner["expires"]
	_, limited := inner["timeout"]
	return inner["val"], expires || limited
}

// withoutBans leaves single addresses out of what is refused: they come and go with
// every attacker.
func (n nftReduction) withoutBans(right any) any {
	elements, isSet := n.elements(right)
	if !isSet {
		elements = []any{right}
	}
	var kept []any
	for _, e := range elements {
		value, _ := element(e)
		if p, ok := prefixValue(value); !ok || !p.IsSingleIP() {
			kept = append(kept, e)
		}
	}
	return map[string]any{"set": kept}
}

// of judges one value for the left, of a concatenation each part for its own.
func (n nftReduction) of(left, value any) match {
	parts, isList := concatenated(left)
	values, valuesToo := concatenated(value)
	if !isList {
		return n.value(n.side(left), value)
	}
	if !valuesToo || len(parts) != len(values) {
		return maybe
	}
	result := surely
	for i := range parts {
		switch n.of(parts[i], values[i]) {
		case never:
			return never
		case maybe:
			result = maybe
		default:
		}
	}
	return result
}

func concatenated(value any) ([]any, bool) {
	object, _ := value.(map[string]any)
	list, ok := object["concat"].([]any)
	return list, ok
}

// value judges a single value, a range or a prefix.
func (n nftReduction) value(s side, value any) match {
	switch s {
	case sidePort:
		if number, ok := value.(float64); ok {
			return sure(number == float64(n.packets.port))
		}
		if from, to, ok := numbers(value); ok {
			return sure(from <= float64(n.packets.port) && float64(n.packets.port) <= to)
		}
	case sideProtocol:
		switch value.(type) {
		case string, float64:
			return sure(value == "tcp" || value == float64(6))
		}
	case sideOwnAddress:
		if p, ok := prefixValue(value); ok {
			return n.packets.atAddress(p)
		}
	case sideInterface:
		if name, ok := value.(string); ok {
			return n.packets.atInterface(name)
		}
	case sideElse:
		return never
	default:
	}
	return maybe
}

// numbers reads {"range": [from, to]}.
func numbers(value any) (from, to float64, ok bool) {
	object, _ := value.(map[string]any)
	ends, _ := object["range"].([]any)
	if len(ends) != 2 {
		return 0, 0, false
	}
	from, okFrom := ends[0].(float64)
	to, okTo := ends[1].(float64)
	return from, to, okFrom && okTo
}

// verdicts reduces {"key": …, "data": …}, whose data are pairs of a value and what
// becomes of the packets with it.
func (n nftReduction) verdicts(value any) any {
	object, ok := value.(map[string]any)
	if !ok {
		return value
	}
	pairs, isSet := n.elements(object["data"])
	if !isSet {
		return value
	}
	var kept []any
	for _, p := range pairs {
		pair, ok := p.([]any)
		if !ok || len(pair) != 2 {
			kept = append(kept, p)
			continue
		}
		key, transient := element(pair[0])
		if !transient && n.of(object["key"], key) != never {
			kept = append(kept, []any{key, pair[1]})
		}
	}
	return map[string]any{"key": object["key"], "data": sorted(kept)}
}

// withSets puts the elements beside the names of sets, so that a change of them is seen.
func (n nftReduction) withSets(value any) any {
	switch v := value.(type) {
	case string:
		if elements, ok := n.elements(v); ok {
			return map[string]any{"name": v, "set": sorted(slices.Clone(elements))}
		}
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = n.withSets(v[i])
		}
		return list
	case map[string]any:
		object := maps.Clone(v)
		for key := range object {
			object[key] = n.withSets(object[key])
		}
		return object
	}
	return value
}
