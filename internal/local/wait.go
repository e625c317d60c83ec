package local

import (
	"context"
	"time"
)

// poll asks until ok returns nil, ctx ends, or limit has passed; then it returns the last answer.
func poll(ctx context.Context, limit time.Duration, ok func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := ok()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return err
		}
		if perr := pause(ctx, 25*time.Millisecond); perr != nil {
			return perr
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
