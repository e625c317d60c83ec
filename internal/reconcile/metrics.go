package reconcile

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// durations is Flux's histogram of how long reconciles take, under its name, labels and buckets.
var durations = prometheus.NewHistogramVec(prometheus.HistogramOpts{
	Name:    "gotk_reconcile_duration_seconds",
	Help:    "The duration in seconds of a GitOps Toolkit resource reconciliation.",
	Buckets: prometheus.ExponentialBucketsRange(10e-3, 1800, 10),
}, []string{"kind", "name", "namespace"})

func init() { metrics.Registry.MustRegister(durations) }

func measure(kind string, name client.ObjectKey, started time.Time) {
	durations.WithLabelValues(kind, name.Name, name.Namespace).Observe(time.Since(started).Seconds())
}

// unmeasure drops the series of an object that is gone.
func unmeasure(kind string, name client.ObjectKey) {
	durations.DeleteLabelValues(kind, name.Name, name.Namespace)
}
