package local

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/local/process"
	"github.com/sluice-gitops/sluice/internal/local/state"
)

// Down stops d's platform and everything that was left of it, and with purge removes its folder. found says whether
// anything ran. A folder that holds no platform of ours is never touched.
func Down(ctx context.Context, d state.Dir, purge bool, sink event.Sink) (found bool, err error) {
	switch err := state.Check(d); {
	case errors.Is(err, fs.ErrNotExist):
		if purge {
			return false, purgeEmpty(d)
		}
		return false, nil
	case err != nil:
		return false, err
	}
	rec, err := state.Load(d)
	if err != nil {
		return false, err
	}
	if rec.Supervisor != nil && process.Alive(*rec.Supervisor) {
		found = true
		st := event.Start(sink, "down", "Stopping the platform")
		process.End([]state.Process{*rec.Supervisor}, stopLimit+5*time.Second)
		st.Done("")
	}
	lock, err := unlocked(ctx, d)
	if err != nil {
		return found, err
	}
	defer lock.Release()
	if left := process.Leftovers(d, rec.Children); len(left) > 0 {
		found = true
		event.Warning(sink, plural(len(left), "process")+" of a killed platform ended")
		process.End(left, process.Grace)
	}
	if rec.Supervisor != nil || len(rec.Children) > 0 {
		// A killed process may hold its ports for a moment longer; a stranger who has taken one since is not our concern.
		_ = poll(ctx, 3*time.Second, func() error { return rec.Ports.Check(nil) })
	}
	if err := tidy(d); err != nil {
		return found, err
	}
	if purge {
		return found, state.Purge(d)
	}
	return found, nil
}

// purgeEmpty removes an empty folder, which may have been meant as a platform's, and refuses one with other files.
func purgeEmpty(d state.Dir) error {
	if os.Remove(string(d)) == nil {
		return nil
	}
	return state.Purge(d)
}

// unlocked waits for the lock: a platform that was just stopped gives it back by ending.
func unlocked(ctx context.Context, d state.Dir) (lock *state.Lock, err error) {
	err = poll(ctx, 3*time.Second, func() error {
		lock, err = state.Acquire(d)
		return err
	})
	if isLocked(err) {
		return nil, &fault.Fault{Code: "SLU-PLATFORM-055", Hop: fault.HopPlatform, Object: string(d), Seen: "another sluice up is just starting this platform", Fix: "end it with Ctrl-C, or wait for it; then sluice down"}
	}
	return lock, err
}

// tidy removes what has no meaning without running processes: tokens and temporary files; and records the stop of a
// platform that could not do so itself.
func tidy(d state.Dir) error {
	for _, name := range []string{"serviceaccount-token", "azure-identity-token", "tmp"} {
		if err := os.RemoveAll(d.Node(name)); err != nil {
			return err
		}
	}
	for _, pattern := range []string{".*.[0-9]*", filepath.Join("node", ".*.[0-9]*"), filepath.Join("emulator", ".*.[0-9]*")} {
		stale, _ := filepath.Glob(filepath.Join(string(d), pattern)) // temporary files of a write that was killed
		for _, f := range stale {
			_ = os.Remove(f)
		}
	}
	rec, err := state.Load(d)
	if err != nil || (rec.State == state.Stopped && rec.Supervisor == nil && len(rec.Children) == 0) {
		return err
	}
	rec.State, rec.Supervisor, rec.Children = state.Stopped, nil, nil
	return rec.Save(d)
}
