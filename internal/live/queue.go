package live

import (
	"context"
	"sync"
)

// queue hands values over to one reader without ever blocking the writer. A value whose key still waits takes the waiting
// one's place.
type queue[K comparable, V any] struct {
	out  chan V
	wake chan struct{}

	mu     sync.Mutex
	order  []K
	values map[K]V
}

func newQueue[K comparable, V any]() *queue[K, V] {
	return &queue[K, V]{out: make(chan V), wake: make(chan struct{}, 1), values: map[K]V{}}
}

func (q *queue[K, V]) put(key K, v V) {
	q.mu.Lock()
	if _, waits := q.values[key]; !waits {
		q.order = append(q.order, key)
	}
	q.values[key] = v
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// drop takes a value back that nobody has read yet.
func (q *queue[K, V]) drop(key K) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.values, key) // its place in the order is skipped when its turn comes
}

func (q *queue[K, V]) take() (v V, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.order) > 0 && !ok {
		key := q.order[0]
		q.order = q.order[1:]
		v, ok = q.values[key]
		delete(q.values, key)
	}
	return v, ok
}

// run hands the values over until ctx ends.
func (q *queue[K, V]) run(ctx context.Context) {
	for {
		v, ok := q.take()
		if !ok {
			select {
			case <-q.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		select {
		case q.out <- v:
		case <-ctx.Done():
			return
		}
	}
}
