package apply

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/sluice-gitops/sluice/internal/plan"
)

// reply is what a response tells besides its body.
type reply struct {
	date time.Time     // the server's clock when it answered; zero if it does not say
	took time.Duration // from sending the request to the head of the response

	mu       sync.Mutex
	warnings []string
}

type replyKey struct{}

// watched returns a context whose request fills the reply.
func watched(ctx context.Context) (context.Context, *reply) {
	r := &reply{}
	return context.WithValue(ctx, replyKey{}, r), r
}

// observe is a transport that fills the reply of the request's context.
func observe(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		start := time.Now()
		resp, err := next.RoundTrip(req)
		if r, ok := req.Context().Value(replyKey{}).(*reply); ok && err == nil {
			r.took = time.Since(start)
			r.date, _ = http.ParseTime(resp.Header.Get("Date")) // zero if absent: then nothing is proved by it
		}
		return resp, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// warnings collects the API server's warnings for whoever asked, instead of printing them.
type warnings struct{}

func (warnings) HandleWarningHeaderWithContext(ctx context.Context, code int, _, text string) {
	r, ok := ctx.Value(replyKey{}).(*reply)
	if !ok || code != 299 || text == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.warnings = append(r.warnings, text)
}

// warned adds the reply's warnings to the change; what the dry-run has said, the apply says again.
func (a *Applier) warned(c *plan.Change, r *reply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.warnings {
		if w = a.hide.Redact(w); !slices.Contains(c.Warnings, w) {
			c.Warnings = append(c.Warnings, w)
		}
	}
}
