package wire

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"time"
)

// Recorder counts and logs what the services were asked for, by "service/operation", such as "keyvault/decrypt".
type Recorder struct {
	log *slog.Logger

	mu     sync.Mutex
	counts map[string]int
}

// NewRecorder returns a Recorder that writes one debug record per request to log.
func NewRecorder(log *slog.Logger) *Recorder {
	return &Recorder{log: log, counts: map[string]int{}}
}

// Counts returns how often each "service/operation" was asked for since the process started.
func (rec *Recorder) Counts() map[string]int {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return maps.Clone(rec.counts)
}

// Count adds one request to key.
func (rec *Recorder) Count(key string) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rec.counts[key]++
}

type callKey struct{}

type call struct {
	rec       *Recorder
	service   string
	operation string
}

// Operation names what r asks for, and counts it. It's counted here, before the answer, so that whoever has the answer
// also finds it counted. Only a request's first name counts.
func Operation(r *http.Request, name string) {
	c, ok := r.Context().Value(callKey{}).(*call)
	if !ok || c.operation != "" {
		return
	}
	c.operation = name
	c.rec.Count(c.service + "/" + name)
}

// Wrap counts and logs h's requests as those of service, bounds their bodies and gives every answer a request id.
func (rec *Recorder) Wrap(service string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		id := NewID()
		w.Header().Set("X-Ms-Request-Id", id)
		if client := r.Header.Get("X-Ms-Client-Request-Id"); client != "" {
			w.Header().Set("X-Ms-Client-Request-Id", client)
		}
		c := &call{rec: rec, service: service}
		r = r.WithContext(context.WithValue(r.Context(), callKey{}, c))
		r.Body = http.MaxBytesReader(w, r.Body, MaxBody+1)
		answer := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		h.ServeHTTP(answer, r)
		Operation(r, "other")
		rec.log.LogAttrs(r.Context(), slog.LevelDebug, "azure request",
			slog.String("service", service), slog.String("operation", c.operation), slog.String("method", r.Method),
			slog.String("host", r.Host), slog.Int("status", answer.status), slog.Duration("took", time.Since(start)),
			slog.String("request", id))
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader notes the status for the log.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}
