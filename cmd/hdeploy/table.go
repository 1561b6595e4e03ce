package main

import (
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/hbohlen/hdeploy/deploy/display"
)

// row is one line of a table, and the lines that explain it, below it.
type row struct {
	cells []string
	below []string
}

// table aligns rows under a header. A row with fewer cells than the header is a
// sentence in its last one, and widens no column. Cells may be foreign text.
func table(header []string, rows []row) string {
	all := append([]row{{cells: header}}, rows...)
	widths := make([]int, len(header))
	for _, r := range all {
		for i, cell := range r.cells {
			r.cells[i] = display.Clean(cell)
			if sentence := i == len(r.cells)-1 && len(r.cells) < len(header); !sentence {
				widths[i] = max(widths[i], ansi.StringWidth(r.cells[i]))
			}
		}
	}
	var b strings.Builder
	for _, r := range all {
		line := ""
		for i, cell := range r.cells {
			line += cell + strings.Repeat(" ", max(0, widths[i]-ansi.StringWidth(cell))+2)
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
		for _, text := range r.below {
			b.WriteString("  " + display.Clean(text) + "\n")
		}
	}
	return b.String()
}
