package hosts

import (
	"bytes"
	"errors"
	"sort"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// position is a place in the file, both numbers from 1.
type position struct{ line, column int }

// kind is the type of a value, in the words of a message to its author.
type kind string

const (
	kindTable   kind = "a table"
	kindArray   kind = "a list"
	kindString  kind = "a string"
	kindInteger kind = "a whole number"
	kindBoolean kind = "true or false"
	kindFloat   kind = "a number with a fraction"
	kindDate    kind = "a date or time"
)

// node is a value and where it stands. The TOML library decodes into Go
// values without positions and stops at the first wrong type; a tree lets the
// decoder say where and go on.
type node struct {
	at   position
	kind kind
	// text is the content of a string, and the source of any other scalar.
	text   string
	items  []*node
	fields []*field
	byName map[string]*field
}

// field is one key of a table, in the order of the file.
type field struct {
	name  string
	at    position
	value *node
}

func (n *node) field(name string) *field {
	return n.byName[name]
}

func (n *node) add(f *field) {
	if n.byName == nil {
		n.byName = map[string]*field{}
	}
	n.byName[f.name] = f
	n.fields = append(n.fields, f)
}

// parse turns a document into a tree. The faults it reports are those of the
// language; there is at most one, because nothing after it can be trusted.
func parse(file string, document []byte) (*node, *ConfigError) {
	// The full decoder first: it also refuses what the parser alone lets
	// pass, such as keys and tables defined twice.
	var discard map[string]any
	if err := toml.Unmarshal(document, &discard); err != nil {
		return nil, syntaxFault(file, err)
	}
	b := &builder{lines: lineStarts(document), root: &node{at: position{1, 1}, kind: kindTable}}
	b.parser.Reset(document)
	current := b.root
	for b.parser.NextExpression() {
		expression := b.parser.Expression()
		switch expression.Kind {
		case unstable.Table:
			current = b.open(expression, false)
		case unstable.ArrayTable:
			current = b.open(expression, true)
		case unstable.KeyValue:
			b.assign(current, expression)
		}
	}
	if err := b.parser.Error(); err != nil {
		return nil, syntaxFault(file, err)
	}
	return b.root, nil
}

func syntaxFault(file string, err error) *ConfigError {
	fault := &ConfigError{File: file, Line: 1, Column: 1}
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		fault.Line, fault.Column = decode.Position()
	}
	fault.Message = printable("read TOML: " + strings.TrimPrefix(err.Error(), "toml: "))
	return fault
}

type builder struct {
	parser unstable.Parser
	lines  []int
	root   *node
}

// lineStarts returns the offset of the first byte of every line.
func lineStarts(document []byte) []int {
	starts := []int{0}
	for offset := 0; ; {
		next := bytes.IndexByte(document[offset:], '\n')
		if next < 0 {
			return starts
		}
		offset += next + 1
		starts = append(starts, offset)
	}
}

func (b *builder) position(r unstable.Range) position {
	offset := int(r.Offset)
	line := sort.SearchInts(b.lines, offset+1)
	return position{line, offset - b.lines[line-1] + 1}
}

// open returns the table that a [header] or [[header]] names.
func (b *builder) open(header *unstable.Node, array bool) *node {
	at := b.root
	for keys := header.Key(); keys.Next(); {
		key := keys.Node()
		f := b.child(at, key, kindTable)
		if !keys.IsLast() || !array {
			at = lastTable(f.value)
			continue
		}
		if f.value.kind != kindArray {
			f.value = &node{at: f.at, kind: kindArray}
		}
		at = &node{at: f.at, kind: kindTable}
		f.value.items = append(f.value.items, at)
	}
	return at
}

// lastTable returns the table that further keys belong to.
func lastTable(n *node) *node {
	if n.kind == kindArray && len(n.items) > 0 {
		return n.items[len(n.items)-1]
	}
	return n
}

// child returns the field of that key, and makes it when it is new.
func (b *builder) child(table *node, key *unstable.Node, k kind) *field {
	name := string(key.Data)
	if f := table.field(name); f != nil {
		return f
	}
	at := b.position(key.Raw)
	f := &field{name: name, at: at, value: &node{at: at, kind: k}}
	table.add(f)
	return f
}

// assign adds one key = value, whose key may be dotted.
func (b *builder) assign(table *node, expression *unstable.Node) {
	for keys := expression.Key(); keys.Next(); {
		f := b.child(table, keys.Node(), kindTable)
		if keys.IsLast() {
			f.value = b.value(expression.Value(), f.at)
			return
		}
		table = lastTable(f.value)
	}
}

// value converts one value; keyAt stands in for the position of a list, which
// the parser does not tell.
func (b *builder) value(v *unstable.Node, keyAt position) *node {
	n := &node{at: keyAt}
	if v.Raw.Length > 0 {
		n.at = b.position(v.Raw)
	}
	switch v.Kind {
	case unstable.Array:
		n.kind = kindArray
		for items := v.Children(); items.Next(); {
			n.items = append(n.items, b.value(items.Node(), n.at))
		}
	case unstable.InlineTable:
		n.kind = kindTable
		for items := v.Children(); items.Next(); {
			b.assign(n, items.Node())
		}
	default:
		n.kind, n.text = scalarKind(v.Kind), string(v.Data)
	}
	return n
}

func scalarKind(k unstable.Kind) kind {
	switch k {
	case unstable.String:
		return kindString
	case unstable.Integer:
		return kindInteger
	case unstable.Bool:
		return kindBoolean
	case unstable.Float:
		return kindFloat
	}
	return kindDate
}

// number returns the value of a whole number; TOML allows underscores and the
// prefixes of Go.
func (n *node) number() (int64, error) {
	return strconv.ParseInt(strings.ReplaceAll(n.text, "_", ""), 0, 64)
}
