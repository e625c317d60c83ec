package cli

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// table is printed in Flux's form: upper-case headers, cells padded with spaces to the widest of their column, and a
// tab between columns, so that `cut -f` and the eye both find them.
type table struct {
	headers []string
	rows    [][]string
	width   []int // that columns have at least
}

// print returns the widths of the columns.
func (t table) print(w io.Writer, header bool) []int {
	lines := t.rows
	if header {
		upper := make([]string, len(t.headers))
		for i, h := range t.headers {
			upper[i] = strings.ToUpper(h)
		}
		lines = append([][]string{upper}, t.rows...)
	}
	width := make([]int, max(len(t.headers), len(t.width), len(lines[0])))
	copy(width, t.width)
	for _, l := range lines {
		for i, cell := range l {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for _, l := range lines {
		for i, cell := range l {
			if i == len(l)-1 {
				fmt.Fprintln(w, cell)
				continue
			}
			fmt.Fprint(w, cell, strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)), "\t")
		}
	}
	return width
}
