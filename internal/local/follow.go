package local

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/local/process"
	"github.com/sluice-gitops/sluice/internal/local/state"
)

// follow shows the events of the supervisor's present run to sink until the platform is Ready or has failed. self says
// whether the supervisor lives; it is asked because a killed one can't say that it failed.
func follow(ctx context.Context, d state.Dir, from int64, sink event.Sink, alive func() bool) error {
	f, err := os.Open(d.Events())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for f == nil {
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
		if f, err = os.Open(d.Events()); err != nil && !alive() {
			return died(d, "")
		}
	}
	defer f.Close()
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return err
	}
	w := &watcher{dec: event.NewDecoder(f), sink: sink}
	for {
		// Asked before reading: whatever was written before the verdict is then read below.
		running := alive()
		rec, err := state.Load(d)
		if err != nil {
			return err
		}
		if err := w.drain(); err != nil {
			return err
		}
		switch {
		case rec.State == state.Ready && running:
			return nil
		case !running:
			if w.failure != nil {
				return w.failure
			}
			step, _ := w.now()
			return died(d, step)
		}
		if err := pause(ctx, 25*time.Millisecond); err != nil {
			return w.interrupted(err)
		}
	}
}

// watcher passes events on and remembers what a verdict needs.
type watcher struct {
	dec     *event.Decoder
	sink    event.Sink
	mu      sync.Mutex
	failure *fault.Fault
	active  []event.Event // the last event of each step under way, oldest first
}

func (w *watcher) drain() error {
	for {
		e, err := w.dec.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		w.note(e)
	}
}

// note passes one event on.
func (w *watcher) note(e event.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e.Phase {
	case event.Started:
		w.active = append(w.active, e)
	case event.Progress:
		for i := range w.active {
			if w.active[i].Step == e.Step {
				w.active[i] = e
			}
		}
	case event.Failed:
		w.failure = e.Fault
		w.ended(e.Step)
	case event.Done:
		w.ended(e.Step)
	}
	w.sink.Emit(e)
}

func (w *watcher) ended(step string) {
	w.active = slices.DeleteFunc(w.active, func(e event.Event) bool { return e.Step == step })
}

// now is the oldest step under way and what it last waited for.
func (w *watcher) now() (step, detail string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.active) == 0 {
		return "", ""
	}
	return w.active[0].Text, w.active[0].Detail
}

// interrupted names the step in which time ran out.
func (w *watcher) interrupted(err error) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	step, last := w.now()
	return timedOut(step, last, err)
}

func timedOut(step, last string, err error) error {
	f := &fault.Fault{Code: "SLU-PLATFORM-050", Hop: fault.HopPlatform, Object: step, Seen: "the time is up", Fix: "wait longer: sluice up --timeout 15m", Exit: fault.ExitTimeout, Err: err}
	if last != "" {
		f.Why = "last seen: " + last
	}
	return f
}

// errDied is the cause inside a fault that says that the platform's process is gone.
var errDied = errors.New("the platform's process ended")

func died(d state.Dir, step string) error {
	f := &fault.Fault{Err: errDied, Code: "SLU-PLATFORM-051", Hop: fault.HopPlatform, Object: step, Seen: "the platform's process ended", Fix: "see " + d.Log("platform") + ", then sluice up again"}
	if rec, err := state.Load(d); err == nil {
		f.Why = tail(d.Log("platform"), rec.LogFrom, 3)
	}
	return f
}

// supervisorAlive tells by the record whether d's supervisor runs.
func supervisorAlive(d state.Dir) bool {
	rec, err := state.Load(d)
	return err == nil && rec.Supervisor != nil && process.Alive(*rec.Supervisor)
}
