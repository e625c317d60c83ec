package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// chart draws the ratios that have a target as bars on a logarithmic scale, and the target as a line across each.
func chart(lines []result) string {
	type bar struct {
		name          string
		ratio, target float64
	}
	var bars []bar
	longest := 10.0
	for _, t := range targets {
		for _, l := range lines {
			if t.ratio > 0 && t.work == l.Work && t.metric == l.Metric && l.Ratio != nil {
				bars = append(bars, bar{l.Work + ": " + l.Metric, *l.Ratio, t.ratio})
				longest = max(longest, *l.Ratio, t.ratio)
			}
		}
	}
	const left, wide, step = 300, 400, 28
	x := func(ratio float64) float64 { return left + wide*math.Log10(max(ratio, 1))/math.Log10(longest) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="13">`+"\n", left+wide+90, step*len(bars)+40)
	b.WriteString(`<rect width="100%" height="100%" fill="white"/>` + "\n")
	for i, v := range bars {
		y := 10 + step*i
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", left-8, y+15, html.EscapeString(v.name))
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="20" fill="#2f6fb0"/>`+"\n", left, y, max(x(v.ratio)-left, 1))
		fmt.Fprintf(&b, `<text x="%.1f" y="%d">%.3g×</text>`+"\n", x(max(v.ratio, v.target))+6, y+15, v.ratio)
		fmt.Fprintf(&b, `<line x1="%[1]f" y1="%[2]d" x2="%[1]f" y2="%[3]d" stroke="#c0392b" stroke-width="2"/>`+"\n", x(v.target), y-2, y+22)
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" fill="#555">times less than Flux, or sops, logarithmic; red: the target</text>`+"\n</svg>\n", left, step*len(bars)+28)
	return b.String()
}
