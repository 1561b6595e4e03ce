package reach

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// nftRuleset is what `nft --json list ruleset` says, as libnftables-json(5) has it.
type nftRuleset struct {
	chains []nftChain
	rules  map[nftName][]nftRule
	sets   map[nftName]nftSet
	absent map[nftName]bool // tables that are off, or looked at in another way
}

// nftName names a chain or set; of a table the last part is empty.
type nftName struct{ family, table, name string }

type nftChain struct {
	Family string `json:"family"`
	Table  string `json:"table"`
	Name   string `json:"name"`
	Type   string `json:"type"`
	Hook   string `json:"hook"`
	Prio   any    `json:"prio"`
	Policy string `json:"policy"`
	Dev    any    `json:"dev"`
}

type nftRule struct {
	Family string           `json:"family"`
	Table  string           `json:"table"`
	Chain  string           `json:"chain"`
	Expr   []map[string]any `json:"expr"`
}

// nftSet is a set, or a map from values to what becomes of the packets.
type nftSet struct {
	Family string `json:"family"`
	Table  string `json:"table"`
	Name   string `json:"name"`
	Flags  any    `json:"flags"`
	Elem   []any  `json:"elem"`

	// changes says that packets, or programs for a while, fill it.
	changes bool
}

func (c nftChain) key() nftName { return nftName{c.Family, c.Table, c.Name} }

func parseNft(text []byte) (*nftRuleset, error) {
	var whole struct {
		List []map[string]json.RawMessage `json:"nftables"`
	}
	if err := json.Unmarshal(text, &whole); err != nil {
		return nil, err
	}
	r := &nftRuleset{rules: map[nftName][]nftRule{}, sets: map[nftName]nftSet{}, absent: map[nftName]bool{}}
	for _, object := range whole.List {
		for kind, raw := range object {
			if err := r.add(kind, raw); err != nil {
				return nil, fmt.Errorf("%s: %v", kind, err)
			}
		}
	}
	slices.SortStableFunc(r.chains, func(a, b nftChain) int {
		return cmp.Or(strings.Compare(a.Family, b.Family), strings.Compare(a.Table, b.Table), strings.Compare(a.Name, b.Name))
	})
	return r, nil
}

func (r *nftRuleset) add(kind string, raw json.RawMessage) error {
	switch kind {
	case "table":
		var t struct {
			Family string `json:"family"`
			Name   string `json:"name"`
			Flags  any    `json:"flags"`
		}
		if err := json.Unmarshal(raw, &t); err != nil {
			return err
		}
		if mentions(t.Flags, "dormant") {
			r.leaveOut(t.Family, t.Name)
		}
	case "chain":
		var c nftChain
		if err := json.Unmarshal(raw, &c); err != nil {
			return err
		}
		r.chains = append(r.chains, c)
	case "rule":
		var rule nftRule
		if err := json.Unmarshal(raw, &rule); err != nil {
			return err
		}
		at := nftName{rule.Family, rule.Table, rule.Chain}
		r.rules[at] = append(r.rules[at], rule)
	case "set", "map":
		var s nftSet
		if err := json.Unmarshal(raw, &s); err != nil {
			return err
		}
		if mentions(s.Flags, "dynamic") {
			s.Elem = nil // packets fill it
		}
		s.changes = mentions(s.Flags, "dynamic") || mentions(s.Flags, "timeout")
		r.sets[nftName{s.Family, s.Table, s.Name}] = s
	}
	return nil
}

func mentions(flags any, flag string) bool {
	list, ok := flags.([]any)
	return flags == flag || ok && slices.Contains(list, any(flag))
}

func (r *nftRuleset) leaveOut(family, table string) { r.absent[nftName{family, table, ""}] = true }

// lines are the chains that the packets pass, those of hooks first. Addresses are
// translated by the first packet of a connection, which is never an answer.
func (r *nftRuleset) lines(p packets) []string {
	var lines []string
	seen, idle := map[nftName]bool{}, map[nftName]bool{}
	var next []nftChain
	for _, c := range r.chains {
		if p.hooked(c.Hook) && !(p.answers && c.Type == "nat") && !r.absent[nftName{c.Family, c.Table, ""}] {
			next = append(next, c)
		}
	}
	for len(next) > 0 {
		c := next[0]
		next = next[1:]
		if seen[c.key()] {
			continue
		}
		seen[c.key()] = true
		rules, targets := r.chain(c, p, idle)
		lines = append(lines, rules...)
		for _, t := range targets {
			at := slices.IndexFunc(r.chains, func(other nftChain) bool { return other.key() == nftName{c.Family, c.Table, t} })
			if at >= 0 {
				next = append(next, r.chains[at])
			}
		}
	}
	return lines
}

// chain is what is left of one for the packets, and where it jumps to. A hook that lets
// everything pass is as good as none.
func (r *nftRuleset) chain(c nftChain, p packets, idle map[nftName]bool) (lines, targets []string) {
	name := strings.Join([]string{"nft", c.Family, c.Table, c.Name}, " ")
	for _, rule := range r.rules[c.key()] {
		left, ok := nftReduction{ruleset: r, packets: p, rule: rule}.reduce()
		if !ok || r.jumpsIdly(c, left, p, idle) {
			continue
		}
		lines = append(lines, name+": "+text(left))
		targets = append(targets, jumps(left)...)
	}
	policy := cmp.Or(c.Policy, "accept")
	if c.Hook == "" || policy == "accept" && len(lines) == 0 {
		return lines, targets
	}
	device := ""
	if c.Dev != nil {
		device = " at " + text(c.Dev)
	}
	head := fmt.Sprintf("%s: %s of %s%s, priority %v, otherwise %s", name, c.Type, c.Hook, device, c.Prio, policy)
	return slices.Insert(lines, 0, head), targets
}

// jumpsIdly says whether all that is left of a rule is a jump to a chain that does nothing
// to the packets but to return: such a one, of bans or of the ports of containers, comes
// and goes with what makes it. known has what was found of chains; one that is being looked
// at counts as busy.
func (r *nftRuleset) jumpsIdly(c nftChain, left []any, p packets, known map[nftName]bool) bool {
	last, _ := left[len(left)-1].(map[string]any)
	jump, _ := last["jump"].(map[string]any)
	target, ok := jump["target"].(string)
	if !ok || slices.ContainsFunc(left[:len(left)-1], isStatement) {
		return false
	}
	c.Name = target
	if idle, ok := known[c.key()]; ok {
		return idle
	}
	known[c.key()] = false
	for _, rule := range r.rules[c.key()] {
		left, ok := nftReduction{ruleset: r, packets: p, rule: rule}.reduce()
		if ok && !returns(left) && !r.jumpsIdly(c, left, p, known) {
			return false
		}
	}
	known[c.key()] = true
	return true
}

func isStatement(expression any) bool {
	object, _ := expression.(map[string]any)
	_, condition := object["match"]
	return !condition
}

// returns says whether all that a rule does is to return.
func returns(left []any) bool {
	last, _ := left[len(left)-1].(map[string]any)
	_, ok := last["return"]
	return ok && !slices.ContainsFunc(left[:len(left)-1], isStatement)
}

// text is a value in one form: keys of objects are sorted.
func text(value any) string {
	out, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(out)
}

// jumps are the chains that an expression may go to.
func jumps(value any) []string {
	var targets []string
	switch v := value.(type) {
	case []any:
		for _, inner := range v {
			targets = append(targets, jumps(inner)...)
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			verdict, ok := v[key].(map[string]any)
			if target, isText := verdict["target"].(string); ok && isText && (key == "jump" || key == "goto") {
				targets = append(targets, target)
				continue
			}
			targets = append(targets, jumps(v[key])...)
		}
	}
	return targets
}

// prefixValue reads an address or {"prefix": {"addr": …, "len": …}}.
func prefixValue(value any) (netip.Prefix, bool) {
	if s, ok := value.(string); ok {
		a, err := netip.ParseAddr(s)
		return netip.PrefixFrom(a, a.BitLen()), err == nil
	}
	object, _ := value.(map[string]any)
	prefix, ok := object["prefix"].(map[string]any)
	if !ok {
		return netip.Prefix{}, false
	}
	s, _ := prefix["addr"].(string)
	bits, isNumber := prefix["len"].(float64)
	a, err := netip.ParseAddr(s)
	if err != nil || !isNumber || bits < 0 || bits > 128 {
		return netip.Prefix{}, false
	}
	p := netip.PrefixFrom(a, int(bits))
	return p, p.IsValid()
}
