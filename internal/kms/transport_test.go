package kms

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// script answers with one status after the other; 0 is a connection that breaks.
type script struct {
	statuses []int
	after    string
	bodies   []string
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	s.bodies = append(s.bodies, string(body))
	status := s.statuses[min(len(s.bodies), len(s.statuses))-1]
	if status == 0 {
		return nil, &net.OpError{Op: "read", Err: errors.New("reset")}
	}
	h := http.Header{}
	if s.after != "" && status != 200 {
		h.Set("Retry-After", s.after)
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader("{}")), Request: r}, nil
}

func TestRequestsAreTriedAgainWhereSecondsHelpAndAsLongAsTheServerSays(t *testing.T) {
	for _, tt := range []struct {
		name     string
		statuses []int
		after    string
		timeout  time.Duration
		want     int // of the last answer; 0: an error
		tries    int
		waits    []time.Duration // exact, where Retry-After says so
	}{
		{"success", []int{200}, "", time.Minute, 200, 1, nil},
		{"throttled, then served", []int{429, 429, 200}, "3", time.Minute, 200, 3, []time.Duration{3 * time.Second, 3 * time.Second}},
		{"every try fails", []int{503}, "1", time.Minute, 503, 4, []time.Duration{time.Second, time.Second, time.Second}},
		{"a connection that breaks", []int{0, 200}, "", time.Minute, 200, 2, nil},
		{"refusals are final", []int{403}, "", time.Minute, 403, 1, nil},
		{"bad requests are final", []int{400}, "1", time.Minute, 400, 1, nil},
		{"a wait that is too long is the reconciler's", []int{429}, "60", time.Hour, 429, 1, nil},
		{"a wait beyond the caller's deadline is not begun", []int{429}, "10", time.Second, 429, 1, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &script{statuses: tt.statuses, after: tt.after}
			var waits []time.Duration
			c := &http.Client{Transport: &Retry{Base: s, Sleep: func(_ context.Context, d time.Duration) error {
				waits = append(waits, d)
				return nil
			}}}
			ctx, cancel := context.WithTimeout(t.Context(), tt.timeout)
			defer cancel()
			var out struct{}
			status, _, err := Post(ctx, c, "https://kms.test/", http.Header{}, map[string]string{"a": "b"}, &out)
			if status != tt.want || (err == nil) != (tt.want != 0) || len(s.bodies) != tt.tries {
				t.Errorf("status %d after %d tries, %v", status, len(s.bodies), err)
			}
			if tt.waits != nil && !slices.Equal(waits, tt.waits) {
				t.Errorf("waits %v, want %v", waits, tt.waits)
			}
			for _, b := range s.bodies {
				if b != `{"a":"b"}` {
					t.Errorf("body %q", b)
				}
			}
		})
	}
}

func TestWaitsAreRandomSharesOfATimeThatDoubles(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 50 {
		var waits []time.Duration
		r := &Retry{Base: &script{statuses: []int{503}}, Sleep: func(_ context.Context, d time.Duration) error {
			waits = append(waits, d)
			return nil
		}}
		req, _ := http.NewRequest(http.MethodPost, "https://kms.test/", strings.NewReader("{}"))
		if _, err := r.RoundTrip(req); err != nil || len(waits) != 3 {
			t.Fatal(waits, err)
		}
		for i, w := range waits {
			if limit := 500 * time.Millisecond << i; w < 0 || w >= limit {
				t.Errorf("wait %d is %s, at most %s", i, w, limit)
			}
			seen[w] = true
		}
	}
	if len(seen) < 100 {
		t.Errorf("%d different waits of 150: they would meet again", len(seen))
	}
}

func TestAWaitEndsWithItsCaller(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := &Retry{Base: &script{statuses: []int{503}, after: "10"}}
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "https://kms.test/", strings.NewReader("{}"))
	done := make(chan error, 1)
	go func() {
		_, err := r.RoundTrip(req)
		done <- err
	}()
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	s := &script{statuses: []int{307}}
	var out struct{}
	c := NewHTTP(s)
	status, _, err := Post(t.Context(), c, "https://kms.test/", http.Header{"X-Vault-Token": {"t"}}, struct{}{}, &out)
	if status != 307 || err != nil || len(s.bodies) != 1 {
		t.Errorf("%d, %v, %d requests", status, err, len(s.bodies))
	}
}
