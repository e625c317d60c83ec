package cli

import "sync"

// onceEach computes each key's value once, and lets others that want it meanwhile wait. Failures are kept too: what a
// vault refused for one file it refuses for the next.
type onceEach[V any] struct {
	mu   sync.Mutex
	vals map[string]func() (V, error)
}

func (o *onceEach[V]) do(key string, f func() (V, error)) (V, error) {
	o.mu.Lock()
	if o.vals == nil {
		o.vals = map[string]func() (V, error){}
	}
	get := o.vals[key]
	if get == nil {
		get = sync.OnceValues(f)
		o.vals[key] = get
	}
	o.mu.Unlock()
	return get()
}
