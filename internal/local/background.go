package local

import (
	"fmt"
	"os"
	"os/exec"

	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/local/process"
	"github.com/sluice-gitops/sluice/internal/local/state"
)

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
	cmd.SysProcAttr = ownSession()
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
