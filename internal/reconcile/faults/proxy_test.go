package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// call is one request as the proxy numbers it.
type call struct {
	method, path string
	watch        bool
	list         bool // of a collection, or a watch
	dryRun       bool
	nth          int // how many like it there were before, in this phase
	phase        string
}

// writes says that the call changes the cluster. Events are left out: they are sent beside the work and nothing waits for them.
func (c call) writes() bool {
	return c.method != http.MethodGet && !c.dryRun && !strings.Contains(c.path, "/events") && !strings.HasPrefix(c.path, "/apis/authentication")
}

func (c call) String() string {
	verb := c.method
	if c.watch {
		verb = "WATCH"
	}
	if c.dryRun {
		verb = "DRYRUN"
	}
	return fmt.Sprintf("%s %s %s #%d", c.phase, verb, c.path, c.nth+1)
}

// fault is what becomes of a request in the place of an answer. pass sends it on and returns the whole reply, even if
// whoever asked is gone meanwhile.
type fault func(w http.ResponseWriter, r *http.Request, pass func() *http.Response)

// proxy stands before the API server. It adds the credentials, so that the process needs none.
type proxy struct {
	*httptest.Server
	upstream  *url.URL
	transport http.RoundTripper
	pass      *httputil.ReverseProxy
	hide      string // name that differs from run to run, left out of the paths

	mu      sync.Mutex
	phase   string
	calls   []call
	nth     map[string]int
	decide  func(call) fault
	watches map[int]context.CancelFunc
	next    int
}

func newProxy(t *testing.T, cfg *rest.Config, hide string) *proxy {
	t.Helper()
	transport, err := rest.TransportFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	host := cfg.Host
	if !strings.Contains(host, "://") {
		host = "https://" + host
	}
	upstream, err := url.Parse(host)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{upstream: upstream, transport: transport, hide: hide, nth: map[string]int{}, watches: map[int]context.CancelFunc{}}
	p.pass = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(upstream) }, Transport: transport, FlushInterval: -1,
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }, // as if there were no proxy
	}
	p.Server = httptest.NewServer(p)
	t.Cleanup(func() {
		p.cutWatches()
		p.CloseClientConnections()
		p.Close()
	})
	return p
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	c := call{method: r.Method, path: strings.ReplaceAll(r.URL.Path, p.hide, "NS"), watch: q.Get("watch") != "", dryRun: q.Get("dryRun") != ""}
	c.list = c.watch || q.Has("limit") || q.Has("resourceVersion")
	p.mu.Lock()
	c.phase = p.phase
	key := c.String()
	c.nth = p.nth[key]
	p.nth[key]++
	p.calls = append(p.calls, c)
	var f fault
	if p.decide != nil {
		f = p.decide(c)
	}
	if c.watch {
		ctx, cancel := context.WithCancel(r.Context())
		r = r.WithContext(ctx)
		n := p.next
		p.next++
		p.watches[n] = cancel
		defer func() {
			p.mu.Lock()
			delete(p.watches, n)
			p.mu.Unlock()
			cancel()
		}()
	}
	p.mu.Unlock()
	if f == nil {
		p.pass.ServeHTTP(w, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	f(w, r, func() *http.Response {
		if c.watch {
			panic("a watch has no end to wait for")
		}
		return p.forward(r, body)
	})
}

// forward sends the request on and reads the whole reply, whatever becomes of the client.
func (p *proxy) forward(r *http.Request, body []byte) *http.Response {
	out := r.Clone(context.WithoutCancel(r.Context()))
	out.URL.Scheme, out.URL.Host, out.RequestURI, out.Host = p.upstream.Scheme, p.upstream.Host, "", ""
	out.Body = io.NopCloser(bytes.NewReader(body))
	res, err := p.transport.RoundTrip(out)
	if err != nil {
		return nil
	}
	defer res.Body.Close()
	data, _ := io.ReadAll(res.Body)
	res.Body = io.NopCloser(bytes.NewReader(data))
	return res
}

// on decides what becomes of each request from now on; nil lets all pass.
func (p *proxy) on(decide func(call) fault) {
	p.mu.Lock()
	p.decide = decide
	p.mu.Unlock()
}

// enter begins a phase: calls are numbered anew.
func (p *proxy) enter(phase string) {
	p.mu.Lock()
	p.phase = phase
	p.mu.Unlock()
}

// since returns the calls that pass keep, and forgets all.
func (p *proxy) since(keep func(call) bool) (kept []call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.calls {
		if keep(c) {
			kept = append(kept, c)
		}
	}
	p.calls = nil
	return kept
}

// cutWatches breaks all watches in the middle and returns how many there were.
func (p *proxy) cutWatches() int {
	p.mu.Lock()
	cancels := slices.Collect(maps.Values(p.watches))
	p.mu.Unlock()
	for _, cancel := range cancels {
		cancel()
	}
	return len(cancels)
}

// dropReply lets the server act, and nobody hear of it.
func dropReply(_ http.ResponseWriter, _ *http.Request, pass func() *http.Response) {
	pass()
	panic(http.ErrAbortHandler)
}

// unreachable breaks the connection before the server hears anything.
func unreachable(http.ResponseWriter, *http.Request, func() *http.Response) {
	panic(http.ErrAbortHandler)
}

// slowly delays each reply.
func slowly(d time.Duration) fault {
	return func(w http.ResponseWriter, r *http.Request, pass func() *http.Response) {
		time.Sleep(d) // the fault itself; nothing waits for anything here
		res := pass()
		if res == nil {
			panic(http.ErrAbortHandler)
		}
		maps.Copy(w.Header(), res.Header)
		w.WriteHeader(res.StatusCode)
		_, _ = io.Copy(w, res.Body)
	}
}

// answer refuses as the API server does.
func answer(code int, reason metav1.StatusReason, retryAfter int) fault {
	return func(w http.ResponseWriter, r *http.Request, _ func() *http.Response) {
		status := metav1.Status{
			TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Code: int32(code), Reason: reason,
			Message: "by order of the test",
		}
		w.Header().Set("Content-Type", "application/json")
		if retryAfter > 0 {
			w.Header().Set("Retry-After", fmt.Sprint(retryAfter))
			status.Details = &metav1.StatusDetails{RetryAfterSeconds: int32(retryAfter)}
		}
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(status)
	}
}
