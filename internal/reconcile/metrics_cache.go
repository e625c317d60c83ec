package reconcile

import (
	"context"
	"sync"
	"weak"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/sluice-gitops/sluice/internal/azure/identity"
	"github.com/sluice-gitops/sluice/internal/keyring"
)

// The event types and results of Flux's cache metrics.
const (
	cacheHit       = "cache_hit"
	cacheMiss      = "cache_miss"
	requestSuccess = "success"
	requestFailure = "failure"
)

// involved is the object on whose behalf a token is asked for, and what for.
type involved struct{ kind, namespace, name, operation string }

type involvedKey struct{}

// onBehalfOf has the metrics of tokens that ctx is used for name who.
func onBehalfOf(ctx context.Context, who involved) context.Context {
	return context.WithValue(ctx, involvedKey{}, who)
}

// tokenMeter keeps Flux's metrics of its token cache: same names, labels and values. A request is a token that was asked
// for, an item one that is kept. It knows identities weakly, so that it keeps none of them.
type tokenMeter struct {
	events    *prometheus.CounterVec
	requests  *prometheus.CounterVec
	evictions prometheus.Counter

	mu    sync.Mutex
	known []weak.Pointer[identity.Workload]
}

// dataKeyMeter keeps the metrics of the data keys in memory. Flux has no such cache; the names are ours.
type dataKeyMeter struct {
	events *prometheus.CounterVec

	mu    sync.Mutex
	known []weak.Pointer[keyring.Ring]
}

var (
	tokens   = newTokenMeter(metrics.Registry)
	dataKeys = newDataKeyMeter(metrics.Registry)
)

func newTokenMeter(r prometheus.Registerer) *tokenMeter {
	m := &tokenMeter{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gotk_token_cache_events_total", Help: "Total number of cache retrieval events for a Gitops Toolkit resource reconciliation.",
		}, []string{"event_type", "kind", "name", "namespace", "operation"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gotk_token_cache_requests_total", Help: "Total number of cache requests partioned by success or failure.",
		}, []string{"status"}),
		evictions: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gotk_token_cache_evictions_total", Help: "Total number of cache evictions.",
		}),
	}
	items := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gotk_token_cached_items", Help: "Total number of items in the cache.",
	}, m.items)
	r.MustRegister(m.events, m.requests, m.evictions, items)
	return m
}

// follow counts what w does from now on.
func (m *tokenMeter) follow(w *identity.Workload) {
	w.Observe(m.observe)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known = append(m.known, weak.Make(w))
}

// evict counts the tokens that are lost because w has no room any more.
func (m *tokenMeter) evict(w *identity.Workload) { m.evictions.Add(float64(w.Tokens())) }

// observe counts one token that was asked for with ctx.
func (m *tokenMeter) observe(ctx context.Context, cached bool, err error) {
	status, event := requestSuccess, cacheMiss
	if err != nil {
		status = requestFailure
	}
	m.requests.WithLabelValues(status).Inc()
	if cached {
		event = cacheHit
	}
	if who, ok := ctx.Value(involvedKey{}).(involved); ok {
		m.events.WithLabelValues(event, who.kind, who.name, who.namespace, who.operation).Inc()
	}
}

// forget drops the series of an object that is gone.
func (m *tokenMeter) forget(who involved) {
	for _, event := range []string{cacheHit, cacheMiss} {
		m.events.DeleteLabelValues(event, who.kind, who.name, who.namespace, who.operation)
	}
}

func (m *tokenMeter) items() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	m.known = alive(m.known, func(w *identity.Workload) { n += w.Tokens() })
	return float64(n)
}

func newDataKeyMeter(r prometheus.Registerer) *dataKeyMeter {
	m := &dataKeyMeter{events: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sluice_data_key_cache_events_total", Help: "Total number of wrapped data keys that were looked for in memory.",
	}, []string{"event_type"})}
	items := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sluice_data_key_cached_items", Help: "Total number of data keys in memory.",
	}, m.items)
	r.MustRegister(m.events, items)
	return m
}

func (m *dataKeyMeter) follow(r *keyring.Ring) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known = append(m.known, weak.Make(r))
}

func (m *dataKeyMeter) observe(cached bool) {
	event := cacheMiss
	if cached {
		event = cacheHit
	}
	m.events.WithLabelValues(event).Inc()
}

func (m *dataKeyMeter) items() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	m.known = alive(m.known, func(r *keyring.Ring) { n += r.Len() })
	return float64(n)
}

// alive visits what is still there and returns it.
func alive[T any](known []weak.Pointer[T], visit func(*T)) []weak.Pointer[T] {
	kept := known[:0]
	for _, p := range known {
		if v := p.Value(); v != nil {
			visit(v)
			kept = append(kept, p)
		}
	}
	return kept
}
