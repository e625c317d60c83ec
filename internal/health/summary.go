package health

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-gitops/sluice/internal/inventory"
)

// Summary is what many verdicts amount to. Flux reports the whole list in an order of its own, and the one object that
// failed drowns in it (kustomize-controller issue 1431); here the failed come first and the healthy are only counted.
type Summary struct {
	Total   int
	Failed  []Verdict // will not get better by themselves, in inventory order
	Waiting []Verdict // not healthy yet, in inventory order
}

// Summarize sorts the verdicts out.
func Summarize(verdicts []Verdict) Summary {
	s := Summary{Total: len(verdicts)}
	for _, v := range verdicts {
		switch v.State {
		case Current:
		case Failed:
			s.Failed = append(s.Failed, v)
		default:
			s.Waiting = append(s.Waiting, v)
		}
	}
	byOrder := func(a, b Verdict) int { return inventory.Compare(a.ID, b.ID) }
	slices.SortStableFunc(s.Failed, byOrder)
	slices.SortStableFunc(s.Waiting, byOrder)
	return s
}

// Healthy says whether every object is.
func (s Summary) Healthy() bool { return len(s.Failed)+len(s.Waiting) == 0 }

// named is how many objects of each kind of trouble a message names before it only counts.
const named = 5

// String tells the summary in one line, worst first:
// "1 of 12 failed: Job/apps/migrate: BackoffLimitExceeded; 2 not ready: Deployment/apps/web: InProgress: …, …".
func (s Summary) String() string {
	if s.Healthy() {
		return fmt.Sprintf("%d of %d healthy", s.Total, s.Total)
	}
	var parts []string
	if n := len(s.Failed); n > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d failed: %s", n, s.Total, list(s.Failed, false)))
	}
	if n := len(s.Waiting); n > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d not ready: %s", n, s.Total, list(s.Waiting, true)))
	}
	return strings.Join(parts, "; ")
}

func list(verdicts []Verdict, state bool) string {
	var b strings.Builder
	for i, v := range verdicts {
		if i == named {
			fmt.Fprintf(&b, " and %d more", len(verdicts)-named)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(v.ID.Display())
		if state {
			b.WriteString(" is " + string(v.State))
		}
		if v.Message != "" {
			b.WriteString(": " + strings.TrimSpace(v.Message))
		}
	}
	return b.String()
}
