package reconcile

import (
	"context"
	"sync"
	"time"
)

// How fetches share the workers. What moves data is done in a moment; what takes longer waits for a remote that is slow or
// silent, costs nothing meanwhile, and must not hold up the fetches of others for the whole of its spec.timeout.
const (
	laneHold  = 2 * time.Second // how long one attempt keeps its lane
	laneWidth = 16              // workers for each lane: attempts under way at most, the waiting ones included
)

// lanes bound how many attempts work at a time, other than those that have turned out to wait.
type lanes chan struct{}

func newLanes(n int) lanes { return make(lanes, n) }

// enter waits for a free lane. It is left when laneHold is over or leave is called, whichever comes first.
func (l lanes) enter(ctx context.Context) (leave func(), err error) {
	select {
	case l <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	once := sync.OnceFunc(func() { <-l })
	early := time.AfterFunc(laneHold, once)
	return func() {
		early.Stop()
		once()
	}, nil
}
