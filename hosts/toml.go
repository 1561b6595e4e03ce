package hosts

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// TOML writes the setting as a line of a table of deploy.toml, or as several where a
// list would make it wider than width columns.
func (s Setting) TOML(width int) string {
	line := s.Key + " = " + tomlValue(s.Value)
	list, ok := s.Value.([]string)
	if !ok || len(list) == 0 || utf8.RuneCountInString(line) <= width {
		return line
	}
	var b strings.Builder
	b.WriteString(s.Key + " = [\n")
	for _, item := range list {
		b.WriteString("  " + tomlString(item) + ",\n")
	}
	return b.String() + "]"
}

// tomlValue writes a value of a [Setting].
func tomlValue(value any) string {
	switch value := value.(type) {
	case string:
		return tomlString(value)
	case []string:
		items := make([]string, len(value))
		for i, item := range value {
			items[i] = tomlString(item)
		}
		return "[" + strings.Join(items, ", ") + "]"
	case map[string]any:
		var fields []string
		for _, key := range sortedNames(value) {
			fields = append(fields, key+" = "+tomlValue(value[key]))
		}
		return "{ " + strings.Join(fields, ", ") + " }"
	}
	return fmt.Sprint(value)
}

// tomlString writes a basic string, in which nothing is left that a terminal would
// act on.
func tomlString(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			fmt.Fprintf(&b, `\U%08X`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
