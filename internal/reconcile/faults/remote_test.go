package faults

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// remote stands before the Git server, as proxy does before the API server.
type remote struct {
	next http.Handler

	mu    sync.Mutex
	fault http.HandlerFunc // in the place of the server; nil: it is well
}

func (h *remote) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	f := h.fault
	h.mu.Unlock()
	if f != nil {
		f(w, r)
		return
	}
	h.next.ServeHTTP(w, r)
}

// breaks puts f in the place of the server; nil mends it.
func (h *remote) breaks(f http.HandlerFunc) {
	h.mu.Lock()
	h.fault = f
	h.mu.Unlock()
}

// gone breaks every connection.
func gone(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// silent takes the request and never answers.
func silent(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// corrupting flips a bit of one byte in the middle of every pack that next sends.
func corrupting(next http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		body := rec.Body.Bytes()
		if strings.HasSuffix(r.URL.Path, "/git-upload-pack") && len(body) > 64 {
			if i := strings.Index(string(body), "PACK"); i >= 0 {
				body[i+12+(len(body)-i-12)/2] ^= 0x10
			}
		}
		for name, values := range rec.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(body)
	}
}

// silentHost is the address of a repository on a server that never answers; reached tells of each request.
func silentHost(t *testing.T, reached chan<- struct{}) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case reached <- struct{}{}:
		default:
		}
		silent(w, r)
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL + "/silent.git"
}
