package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/local/process"
	"github.com/sluice-gitops/sluice/internal/local/state"
)

// stopLimit is how long an orderly stop of everything may take before it is done by force.
const stopLimit = 20 * time.Second

// Running is a platform that `up` found or started.
type Running struct {
	Dir    state.Dir
	Record state.Record
	Found  bool // it ran already
	// Wait, of a platform in the foreground, holds until ctx ends or the platform fails, and stops it. nil otherwise.
	Wait func(ctx context.Context) error
}

// Up starts the platform in the background, or finds it running, and returns when every Kustomization is Ready. When
// ctx is cancelled, or o.Timeout passes before the platform runs, what was started is stopped and the state kept; when
// the time passes later, the platform stays up for its user to look at.
func Up(ctx context.Context, o Options) (*Running, error) {
	limited, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	lock, rec, err := prepare(limited, o)
	if isLocked(err) {
		r, err := attach(limited, o)
		if !errors.Is(err, errDied) {
			return r, err
		}
		// It was about to end when we came. What is left is a state folder like any other.
		event.Warning(o.Sink, "the platform that ran has ended; starting it again")
		lock, rec, err = prepareFreed(limited, o)
		if err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	sup, err := spawn(o, lock)
	lock.Release()
	if err != nil {
		return nil, err
	}
	if err := follow(limited, o.Dir, rec.EventsFrom, o.Sink, sup.alive); err != nil {
		sup.stop(o.Sink)
		return nil, err
	}
	r, err := finish(limited, o, false)
	if err != nil && ctx.Err() != nil {
		sup.stop(o.Sink)
	}
	return r, err
}

// prepareFreed is prepare for a folder whose owner has died: the kernel lets go of the lock a moment later.
func prepareFreed(ctx context.Context, o Options) (lock *state.Lock, rec *state.Record, err error) {
	waited := poll(ctx, 10*time.Second, func() error {
		lock, rec, err = prepare(ctx, o)
		if isLocked(err) {
			return err
		}
		return nil
	})
	return lock, rec, errors.Join(err, waited)
}

// Foreground is Up with the platform in this process, for as long as Wait of the result is held.
func Foreground(ctx context.Context, o Options) (*Running, error) {
	limited, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	lock, _, err := prepare(limited, o)
	if isLocked(err) {
		return nil, &fault.Fault{Code: "SLU-PLATFORM-052", Hop: fault.HopPlatform, Object: string(o.Dir), Seen: "the platform runs already", Fix: "sluice down, then sluice up --foreground"}
	}
	if err != nil {
		return nil, err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	ready, done := make(chan struct{}), make(chan error, 1)
	w := &watcher{sink: o.Sink}
	o.Sink = event.SinkFunc(w.note)
	go func() {
		defer lock.Release()
		done <- Supervise(life, o, func() { close(ready) })
	}()
	stop := func() error { end(); return <-done }
	select {
	case <-ready:
	case err := <-done:
		end()
		return nil, err
	case <-limited.Done():
		_ = stop()
		return nil, w.interrupted(limited.Err())
	}
	r, err := finish(limited, o, false)
	if err != nil {
		_ = stop()
		return nil, err
	}
	r.Wait = func(ctx context.Context) error {
		select {
		case err := <-done:
			end()
			return err
		case <-ctx.Done():
			return stop()
		}
	}
	return r, nil
}

// prepare makes everything sure that can be known before anything is started, and settles ports and options. The
// caller owns the lock. state.ErrLocked says that the platform runs.
func prepare(ctx context.Context, o Options) (lock *state.Lock, rec *state.Record, err error) {
	if err := state.Supported(); err != nil {
		return nil, nil, err
	}
	if err := state.Create(o.Dir); err != nil {
		return nil, nil, err
	}
	if lock, err = state.Acquire(o.Dir); err != nil {
		return nil, nil, err
	}
	st := event.Start(o.Sink, "preflight", "Preflight")
	rec, err = preflight(ctx, o)
	if err != nil {
		lock.Release()
		st.Fail(err)
		return nil, nil, err
	}
	st.Done(fmt.Sprintf("state in %s", o.Dir))
	return lock, rec, nil
}

func preflight(ctx context.Context, o Options) (*state.Record, error) {
	rec, err := state.Load(o.Dir)
	if err != nil {
		return nil, err
	}
	if err := thisMachine().check(ctx, o.Dir, o.Sink); err != nil {
		return nil, err
	}
	if _, err := clusterBinary(o.Executable, os.Getenv); err != nil {
		return nil, err
	}
	if rec.Options, err = settle(o, rec.Options); err != nil {
		return nil, err
	}
	patience := time.Duration(0)
	if rec.Supervisor != nil || len(rec.Children) > 0 {
		// A killed platform's processes may be gone for us and still hold their ports while the kernel takes them apart.
		patience = 5 * time.Second
	}
	if left := process.Leftovers(o.Dir, rec.Children); len(left) > 0 {
		event.Warning(o.Sink, plural(len(left), "process")+" of a killed platform ended")
		process.End(left, process.Grace)
	}
	if err := rec.Ports.Assign(o.NewPorts); err != nil {
		return nil, err
	}
	if err := poll(ctx, patience, func() error { return rec.Ports.Check(process.PortOwner) }); err != nil {
		return nil, err
	}
	if err := takeOver(ctx, o, *rec); err != nil {
		return nil, err
	}
	rotate(o.Dir.Events(), 5<<20)
	rotate(o.Dir.Log("platform"), 20<<20)
	rec.EventsFrom, rec.LogFrom = size(o.Dir.Events()), size(o.Dir.Log("platform"))
	rec.State, rec.Supervisor, rec.Children = state.Starting, nil, nil
	return rec, rec.Save(o.Dir)
}

// rotate moves a file aside that has grown beyond limit bytes.
func rotate(path string, limit int64) {
	if size(path) > limit {
		_ = os.Rename(path, path+".1")
	}
}

// finish waits for the first sync, or the present one.
func finish(ctx context.Context, o Options, found bool) (*Running, error) {
	rec, err := state.Load(o.Dir)
	if err != nil {
		return nil, err
	}
	st := event.Start(o.Sink, "sync", "Sync")
	revision, err := waitSynced(ctx, o.Dir, st)
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			st.Fail(err)
		}
		return nil, err
	}
	st.Done(revision)
	return &Running{Dir: o.Dir, Record: *rec, Found: found}, nil
}

// plural counts things: "1 object", "3 objects", "2 processes".
func plural(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "s"):
		return fmt.Sprintf("%d %ses", n, noun)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
