package local

import (
	"context"
	"errors"
	"time"

	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/local/state"
)

// attach takes part in a platform that another `up` started: it waits until that is ready, and looks at each part.
func attach(ctx context.Context, o Options) (*Running, error) {
	if o.NewPorts {
		return nil, &fault.Fault{Code: "SLU-PLATFORM-053", Hop: fault.HopPlatform, Object: string(o.Dir), Seen: "the platform runs; its ports can't change now", Fix: "sluice down, then sluice up --new-ports"}
	}
	rec, err := state.Load(o.Dir)
	if err != nil {
		return nil, err
	}
	if want, err := settle(o, rec.Options); err != nil || want != rec.Options {
		return nil, errors.Join(err, &fault.Fault{Code: "SLU-PLATFORM-054", Hop: fault.HopPlatform, Object: string(o.Dir), Seen: "the platform runs with another repository or path",
			Why: describe(rec.Options), Fix: "sluice down, then the same sluice up again; or give this one a folder of its own: --state-dir DIR"})
	}
	alive := func() bool { return supervisorAlive(o.Dir) }
	// The one who holds the lock may still be in its preflight, or have been killed this moment.
	if err := poll(ctx, 10*time.Second, func() error {
		if alive() || free(o.Dir) {
			return nil
		}
		return died(o.Dir, "")
	}); err != nil {
		return nil, err
	}
	if !alive() {
		return nil, died(o.Dir, "")
	}
	if rec, err = state.Load(o.Dir); err != nil {
		return nil, err
	}
	if rec.State != state.Ready {
		if err := follow(ctx, o.Dir, rec.EventsFrom, o.Sink, alive); err != nil {
			return nil, err
		}
	}
	if rec.Version != o.Version {
		event.Warning(o.Sink, "what runs is Sluice "+rec.Version+", this is "+o.Version+": sluice down, then sluice up takes this one")
	}
	st := event.Start(o.Sink, "running", "The platform runs already")
	if err := verify(ctx, o.Dir, rec.Ports, st); err != nil {
		if !alive() {
			err = died(o.Dir, "running")
		}
		st.Fail(err)
		return nil, err
	}
	st.Done("every part answers")
	r, err := finish(ctx, o, true)
	if err != nil && ctx.Err() == nil && !alive() {
		err = died(o.Dir, "sync")
	}
	return r, err
}

// free says that nobody holds the folder.
func free(d state.Dir) bool {
	lock, err := state.Acquire(d)
	if err == nil {
		lock.Release()
	}
	return err == nil
}

func describe(o state.Options) string {
	if o.Repo == "" {
		return "it has the sample, with path " + o.Path
	}
	return "it has " + o.Repo + " with path " + o.Path
}
