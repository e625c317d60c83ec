package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// group is a layer of the control plane: parts that run side by side and stop together.
type group struct {
	ctx    context.Context
	cancel context.CancelFunc
	failed chan<- error // of capacity 1: the first failure ends everything
	wg     sync.WaitGroup
}

// newGroup makes an empty layer. It has a life of its own rather than a caller's context, because layers stop in turn.
func newGroup(failed chan<- error) *group {
	g := &group{failed: failed}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	return g
}

// start runs a part. If it ends before the group is stopped, with or without an error, that is a failure.
func (g *group) start(name string, run func(context.Context) error) {
	g.wg.Go(func() {
		err := run(g.ctx)
		if g.ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("ended by itself")
		}
		select {
		case g.failed <- fmt.Errorf("%s: %w", name, err):
		default:
		}
	})
}

// stop asks all parts to end and waits for them, but no longer than grace.
func (g *group) stop(grace time.Duration) {
	g.cancel()
	done := make(chan struct{})
	go func() {
		g.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(grace):
	}
}
