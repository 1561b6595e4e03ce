package main

import (
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/hbohlen/hdeploy/deploy/display"
)

// lineWidth is how many columns an answer for people takes: an ordinary terminal's.
const lineWidth = 80

// row is one line of a table, and the lines that explain it, below it.
type row struct {
	cells []string
	below []string
}

// table aligns rows under a header. A row with fewer cells than the header is a
// sentence in its last one, and widens no column. Cells may be foreign text. A
// first cell that would make the table too wide stands on a line of its own.
func table(header []string, rows []row) string {
	all := append([]row{{cells: header}}, rows...)
	for _, r := range all {
		for i, cell := range r.cells {
			r.cells[i] = display.Clean(cell)
		}
	}
	widths := columnWidths(all)
	var b strings.Builder
	for _, r := range all {
		line, at := "", 0
		for i, cell := range r.cells {
			last := i == len(r.cells)-1
			if last && len(r.cells) < len(header) {
				cell = strings.Join(display.Wrap(cell, lineWidth-at), "\n"+strings.Repeat(" ", at))
			}
			line += cell
			at += widths[i] + 2
			switch wide := ansi.StringWidth(cell); {
			case last:
			case wide > widths[i]:
				line += "\n" + strings.Repeat(" ", at)
			default:
				line += strings.Repeat(" ", widths[i]-wide+2)
			}
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
		for _, text := range r.below {
			b.WriteString("  " + hanging(text, "    ") + "\n")
		}
	}
	return b.String()
}

// columnWidths returns the width of each column: that of its widest cell, but of
// the first column no more than the others leave of a line.
func columnWidths(all []row) []int {
	header := all[0].cells
	widths := make([]int, len(header))
	var first []int
	for _, r := range all {
		first = append(first, ansi.StringWidth(r.cells[0]))
		for i, cell := range r.cells {
			if sentence := i == len(r.cells)-1 && len(r.cells) < len(header); !sentence {
				widths[i] = max(widths[i], ansi.StringWidth(cell))
			}
		}
	}
	room := lineWidth
	for _, width := range widths[1:] {
		room -= width + 2
	}
	fits := slices.DeleteFunc(first, func(width int) bool { return width > max(room, first[0]) })
	widths[0] = slices.Max(fits)
	return widths
}

// hanging breaks foreign text into the lines of an answer, all but the first of
// them indented.
func hanging(text, indent string) string {
	return strings.Join(display.Wrap(display.Clean(text), lineWidth-len(indent)), "\n"+indent)
}
