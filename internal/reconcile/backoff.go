package reconcile

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// firstRetry is the wait after a first failure; each further one doubles it.
const firstRetry = 2 * time.Second

// backoff counts the failures in a row of each object, so that a failing one slows only itself.
type backoff struct {
	mu       sync.Mutex
	failures map[types.NamespacedName]int
}

func newBackoff() *backoff { return &backoff{failures: map[types.NamespacedName]int{}} }

// next records a failure and returns the wait before the next attempt: 2 s, 4 s, 8 s … and never more than limit.
func (b *backoff) next(name types.NamespacedName, limit time.Duration) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.failures[name]
	b.failures[name] = n + 1
	if n > 20 { // beyond any interval; keeps the shift below from overflowing
		return limit
	}
	return min(firstRetry<<n, limit)
}

// reset forgets an object's failures.
func (b *backoff) reset(name types.NamespacedName) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.failures, name)
}
