package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
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
		return attach(limited, o)
	}
	if err != nil {
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
		return nil, orTimedOut(limited.Err())
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

func orTimedOut(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return timedOut("platform", "", err)
	}
	return err
}

// prepare makes everything sure that can be known before anything is started, and settles ports and options. The
// caller owns the lock. state.ErrLocked says that the platform runs.
func prepare(ctx context.Context, o Options) (lock *state.Lock, rec *state.Record, err error) {
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

// background is the supervisor as the process that started it sees it.
type background struct {
	process state.Process
	done    chan struct{}
}

// Command is the hidden subcommand of the supervisor; it finds the lock as file descriptor LockFD.
const (
	Command = "platform"
	LockFD  = 3
)

// spawn starts the supervisor in a session of its own and hands it the lock.
func spawn(o Options, lock *state.Lock) (*background, error) {
	log, err := os.OpenFile(o.Dir.Log("platform"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(o.Executable, Command, "--state-dir", string(o.Dir))
	cmd.Dir = string(o.Dir)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{lock.File()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the platform: %w", err)
	}
	b := &background{done: make(chan struct{})}
	b.process = process.Identify("platform", cmd.Process.Pid)
	go func() {
		_ = cmd.Wait() // how it ended is told by its events and its log
		close(b.done)
	}()
	return b, nil
}

func (b *background) alive() bool {
	select {
	case <-b.done:
		return false
	default:
		return true
	}
}

// stop ends the supervisor, which stops what it started; the state stays.
func (b *background) stop(sink event.Sink) {
	if !b.alive() {
		return
	}
	event.Inform(sink, "stopping what was started; the state is kept")
	process.End([]state.Process{b.process}, stopLimit)
}

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
	// The one who holds the lock may still be in its preflight.
	if err := poll(ctx, 10*time.Second, func() error {
		if !alive() {
			return died(o.Dir, "")
		}
		return nil
	}); err != nil {
		return nil, err
	}
	if rec, err = state.Load(o.Dir); err != nil {
		return nil, err
	}
	if rec.State != state.Ready {
		if err := follow(ctx, o.Dir, rec.EventsFrom, o.Sink, alive); err != nil {
			return nil, err
		}
	}
	st := event.Start(o.Sink, "running", "The platform runs already")
	if err := verify(ctx, o.Dir, rec.Ports, st); err != nil {
		st.Fail(err)
		return nil, err
	}
	st.Done("every part answers")
	return finish(ctx, o, true)
}

func describe(o state.Options) string {
	if o.Repo == "" {
		return "it has the sample, with path " + o.Path
	}
	return "it has " + o.Repo + " with path " + o.Path
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
