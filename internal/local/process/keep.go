package process

import (
	"context"
	"time"

	"github.com/sluice-gitops/sluice/internal/local/state"
)

// Grace is how long a child may take to end before it is killed.
const Grace = 8 * time.Second

// Hooks are called by Keep as the child comes and goes; nil ones are left out.
type Hooks struct {
	Started func(state.Process)
	Exited  func(id state.Process, err error, again time.Duration) // again: how long until the next start
}

// Keep runs the child that next describes until ctx ends, starting it again when it ends by itself: at once the first
// time, then with a pause that doubles up to limit and is forgotten after a minute of life. next is asked anew for
// each start. Keep returns when the child has ended.
func Keep(ctx context.Context, limit time.Duration, next func() (Spec, error), h Hooks) {
	pause := time.Duration(0)
	for ctx.Err() == nil {
		began := time.Now()
		id, err := runOnce(ctx, next, h)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > time.Minute {
			pause = 0
		}
		if h.Exited != nil {
			h.Exited(id, err, pause)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(max(2*pause, 200*time.Millisecond), limit)
	}
}

func runOnce(ctx context.Context, next func() (Spec, error), h Hooks) (state.Process, error) {
	spec, err := next()
	if err != nil {
		return state.Process{}, err
	}
	c, err := Start(spec)
	if err != nil {
		return state.Process{Name: spec.Name}, err
	}
	if h.Started != nil {
		h.Started(c.ID())
	}
	select {
	case <-c.Done():
		return c.ID(), c.Err()
	case <-ctx.Done():
		c.Stop(Grace)
		return c.ID(), ctx.Err()
	}
}
