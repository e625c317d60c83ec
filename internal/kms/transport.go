package kms

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Retry is a transport that tries a request again where seconds may help: no connection, 408, 429, and the gateway's
// 502, 503 and 504; 500 too, because unwrapping changes nothing. It waits as long as Retry-After says, else a random
// share of a time that doubles. It is safe for concurrent use.
type Retry struct {
	Base  http.RoundTripper                                // nil: a transport of its own, with the environment's proxy
	Tries int                                              // in all; 0: 4
	First time.Duration                                    // the longest first wait; 0: 500 ms
	Max   time.Duration                                    // the longest wait; a longer Retry-After ends the attempts. 0: 20 s
	Sleep func(ctx context.Context, d time.Duration) error // nil: a timer
}

// NewHTTP returns a client for key services that tries again. base may be nil. It follows no redirect: what is sent
// carries credentials.
func NewHTTP(base http.RoundTripper) *http.Client {
	if base == nil {
		base = NewTransport()
	}
	return &http.Client{
		Transport:     &Retry{Base: base},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// NewTransport returns a transport with the environment's proxy and the system's certificates. http.DefaultTransport is
// not used: in this program it is kustomize's, and refuses.
func NewTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: 20 * time.Second,
	}
}

// RoundTrip implements http.RoundTripper.
func (r *Retry) RoundTrip(req *http.Request) (*http.Response, error) {
	tries, first, longest := or(r.Tries, 4), or(r.First, 500*time.Millisecond), or(r.Max, 20*time.Second)
	for attempt := 1; ; attempt++ {
		res, err := r.Base.RoundTrip(req)
		if attempt == tries || !worthRetrying(res, err) || req.Context().Err() != nil {
			return res, err
		}
		wait := rand.N(first << (attempt - 1))
		if res != nil {
			if told, ok := After(res.Header, time.Now()); ok {
				wait = told
			}
		}
		if wait > longest || (req.Body != nil && req.GetBody == nil) {
			return res, err // a longer wait is the reconciler's business
		}
		if deadline, ok := req.Context().Deadline(); ok && time.Until(deadline) <= wait {
			return res, err // the caller would not see another answer
		}
		if res != nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
			res.Body.Close()
		}
		if err := r.sleep(req.Context(), wait); err != nil {
			return nil, err
		}
		again := req.Clone(req.Context())
		if req.GetBody != nil {
			if again.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
		}
		req = again
	}
}

func (r *Retry) sleep(ctx context.Context, d time.Duration) error {
	if r.Sleep != nil {
		return r.Sleep(ctx, d)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

func worthRetrying(res *http.Response, err error) bool {
	if err != nil {
		var dns *net.DNSError
		return !(errors.As(err, &dns) && dns.IsNotFound) && !strings.Contains(err.Error(), "x509:")
	}
	switch res.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// After reads Retry-After, in seconds or as a date.
func After(h http.Header, now time.Time) (time.Duration, bool) {
	v := h.Get("Retry-After")
	if s, err := strconv.Atoi(v); err == nil && s >= 0 {
		return time.Duration(s) * time.Second, true
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, t.Sub(now)), true
	}
	return 0, false
}
