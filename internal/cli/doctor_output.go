package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/sluice-gitops/sluice/internal/doctor"
	"github.com/sluice-gitops/sluice/internal/event"
)

// marks are what stands before a hop, by its state.
var marks = map[doctor.State][2]string{ // Unicode, ASCII
	doctor.OK: {"✓", "ok"}, doctor.Broken: {"✗", "x"}, doctor.Unreachable: {"–", "-"}, doctor.Unseen: {"?", "?"}, doctor.Skipped: {"·", "."},
}

// printReport writes one line a hop, and under the broken one what was checked, expected, why, and what mends it.
func printReport(w io.Writer, style event.Style, r *doctor.Report) {
	fmt.Fprintf(w, "Kustomization %s\n", r.Kustomization)
	for _, h := range r.Hops {
		mark := marks[h.State][0]
		if style.ASCII {
			mark = fmt.Sprintf("%-2s", marks[h.State][1])
		}
		fmt.Fprintf(w, "%s %-20s  %s\n", mark, h.Name, oneLine(h.Seen))
		if h.State != doctor.Broken {
			continue
		}
		line := func(label, text string) {
			if text != "" {
				fmt.Fprintf(w, "    %-9s %s\n", label, oneLine(text))
			}
		}
		line("checked", h.Checked)
		line("expected", h.Expected)
		where := strings.TrimSpace(h.Fault.Object + " " + h.Fault.File)
		line("where", where)
		line("why", h.Fault.Why)
		line("fix", h.Fault.Fix)
		if m := h.Remedy; m != nil {
			for _, c := range m.Commands {
				if c != h.Fault.Fix {
					line("or", c)
				}
			}
			if m.Safe && m.Applicable() {
				namespace, name, _ := strings.Cut(r.Kustomization, "/")
				line("or", "sluice doctor ks "+name+" -n "+namespace+" --fix")
			}
			line("keep", m.Keep)
		}
		line("code", h.Fault.Code)
	}
}

// printReportsJSON writes {"reports": [...]}, also for one.
func printReportsJSON(w io.Writer, reports []*doctor.Report) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(map[string]any{"reports": reports})
}
