package doctor

import (
	"flag"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

var _ = flag.Bool("update", false, "rewrite the golden files")

// Each breakage is made in a chain that is green, named by exactly one hop with its cause and its exit code, and mended:
// by the remedy in its structured form, or by a person where there is none. Then all is green again.
func TestDoctorNamesTheBrokenHopAndItsFixMendsIt(t *testing.T) {
	w := newWorld(t)
	var rows strings.Builder
	for _, b := range breakages {
		t.Run(b.name, func(t *testing.T) {
			w.t = t
			w.rbac = b.rbac
			w.heal()
			b.of(w)
			o := w.options()
			if b.alone != nil {
				b.alone(&o)
			}
			r := w.examine(o)
			h := w.named(r, b.hop)
			b.check(t, r, h)
			fmt.Fprintf(&rows, "| %s | %s | %s | %s | %d |\n", b.name, h.Name, w.cell(h.Seen+"; "+h.Fault.Why), w.code(h.Fault.Fix), fault.ExitCode(h.Fault))
			w.mend(b, h)
			if r = w.examine(o); b.then != "" {
				h = w.named(r, b.then)
				w.mend(breakage{}, h)
				r = w.examine(o)
			}
			if left := r.Broken(); left != nil {
				t.Fatalf("after the fix %s is broken:\n%s", left.Name, r.text())
			}
		})
	}
	w.t = t
	if !t.Failed() && len(breakages) < 30 {
		t.Error("fewer than 30 breakages")
	}
	if !t.Failed() {
		testkit.Golden(t, filepath.Join("..", "..", "docs", "doctor.md"), []byte(preface+rows.String()))
	}
}

// named demands that hop, and no other, is broken: what comes before holds or cannot be seen, what comes after is not
// reachable.
func (w *world) named(r *Report, hop string) *Hop {
	w.t.Helper()
	h := r.Broken()
	if h == nil || h.Name != hop || h.Fault == nil {
		w.t.Fatalf("want %s broken:\n%s", hop, r.text())
	}
	after := false
	for _, other := range r.Hops {
		switch {
		case other.Name == hop:
			after = true
		case after && other.State != Unreachable, !after && (other.State == Broken || other.State == Unreachable):
			w.t.Errorf("%s is %s, and %s is broken", other.Name, other.State, hop)
		}
	}
	return h
}

func (b breakage) check(t *testing.T, r *Report, h *Hop) {
	t.Helper()
	if text := h.Seen + "; " + h.Fault.Why; !strings.Contains(text, b.says) {
		t.Errorf("says %q, which lacks %q", text, b.says)
	}
	if h.Fault.Fix == "" || !strings.Contains(h.Fault.Fix, b.fix) {
		t.Errorf("fix %q lacks %q", h.Fault.Fix, b.fix)
	}
	if h.Expected == "" || h.Checked == "" {
		t.Errorf("hop %+v does not say what was expected", h)
	}
	if got := fault.ExitCode(h.Fault); got != b.exit {
		t.Errorf("exit code %d, want %d", got, b.exit)
	}
	if got := h.Remedy != nil && h.Remedy.Safe; got != b.safe {
		t.Errorf("--fix mends it: %v, want %v", got, b.safe)
	}
	if h.Remedy != nil && h.Remedy.Commands[0] != h.Fault.Fix {
		t.Errorf("the remedy's command is %q, the fault's %q", h.Remedy.Commands[0], h.Fault.Fix)
	}
	if h.Remedy.Applicable() == (b.undo != nil) && b.undo == nil {
		t.Errorf("there is no structured form of %q", h.Fault.Fix)
	}
}

func (w *world) mend(b breakage, h *Hop) {
	w.t.Helper()
	if b.undo != nil {
		b.undo(w)
		return
	}
	w.must(Apply(w.t.Context(), w.options(), h.Remedy))
	w.settle()
}

var (
	guidText = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	urlText  = regexp.MustCompile(`http://127\.0\.0\.1:\d+`)
	timeText = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
	hashText = regexp.MustCompile(`\b[0-9a-f]{32,40}\b`)
)

// generic hides what differs from run to run.
func (w *world) generic(s string) string {
	for _, p := range [][2]string{
		{other, "99999999"}, {w.id.ClientID, "<client-id>"}, {w.id.PrincipalID, "<principal-id>"}, {w.id.TenantID, "<tenant-id>"},
		{w.key.Version, "<version>"}, {w.ns, "flux-system"}, {w.azure.Env().SubscriptionID, "<subscription>"},
	} {
		s = strings.ReplaceAll(s, p[0], p[1])
	}
	s = guidText.ReplaceAllString(s, "<guid>")
	s = urlText.ReplaceAllString(s, "https://git.example.com")
	s = timeText.ReplaceAllString(s, "<time>")
	return hashText.ReplaceAllString(s, "<hash>")
}

func (w *world) cell(s string) string {
	s = strings.Trim(strings.Join(strings.Fields(w.generic(s)), " "), "; ")
	return strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(s)
}

func (w *world) code(s string) string {
	return "`" + strings.ReplaceAll(strings.ReplaceAll(strings.Join(strings.Fields(w.generic(s)), " "), "`", "'"), "|", `\|`) + "`"
}

const preface = `# Doctor

TODO
`
