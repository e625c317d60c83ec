// Package process starts the platform's child processes so that none can outlive it, and finds and ends the ones that
// a killed supervisor left behind.
//
// Three nets hold a child: the kernel kills it when its supervisor dies (Linux), its standard input ends when the
// supervisor dies (for children that watch it), and its recorded number and start time, with a mark in its
// environment, let the next `up` or `down` find it. The package never ends a process that it can't prove to be the
// platform's.
package process

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/sluice-gitops/sluice/internal/local/state"
)

// Mark is the environment variable that every child carries, with the state folder as its value.
const Mark = "SLUICE_SUPERVISED"

// Spec is one child process.
type Spec struct {
	Name  string
	Owner state.Dir // the platform that the child belongs to
	Path  string
	Args  []string // without argv[0]
	Env   []string // whole environment; Mark is added
	Log   string   // file that standard output and error are appended to
	// Line, when set, is called with each line of standard output, which is also copied to Log.
	Line func(string)
}

// Child is a running child process, leader of a process group of its own.
type Child struct {
	cmd   *exec.Cmd
	id    state.Process
	stdin io.Closer
	done  chan struct{}
	err   error
}

// Start starts spec. The child's standard input is a pipe that stays open, without data, for as long as this process
// lives.
func Start(spec Spec) (*Child, error) {
	log, err := openLog(spec.Log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(spec.Path, spec.Args...)
	cmd.Dir = string(spec.Owner)
	cmd.Env = append(append([]string{}, spec.Env...), Mark+"="+string(spec.Owner))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = attributes()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	var stdout *os.File
	if spec.Line != nil {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		defer w.Close()
		stdout, cmd.Stdout = r, w
	}
	if err := startOnOwnThread(cmd); err != nil {
		if stdout != nil {
			stdout.Close()
		}
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	if stdout != nil {
		go scan(stdout, spec)
	}
	c := &Child{cmd: cmd, stdin: stdin, done: make(chan struct{})}
	c.id = state.Process{Name: spec.Name, PID: cmd.Process.Pid, Start: startTime(cmd.Process.Pid)}
	go func() {
		c.err = cmd.Wait()
		stdin.Close()
		close(c.done)
	}()
	return c, nil
}

// scan copies the child's output lines to its log and to spec.Line.
func scan(r *os.File, spec Spec) {
	defer r.Close()
	log, err := openLog(spec.Log)
	if err != nil {
		_, _ = io.Copy(io.Discard, r)
		return
	}
	defer log.Close()
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		fmt.Fprintln(log, s.Text())
		spec.Line(s.Text())
	}
	_, _ = io.Copy(io.Discard, r)
}

// ID identifies the child.
func (c *Child) ID() state.Process { return c.id }

// Done is closed when the child has ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// Err tells how the child ended: nil for exit code 0. Call it after Done.
func (c *Child) Err() error { return c.err }

// Stop asks the child to end and waits; after grace its whole process group is killed. Leftover members of the group
// are killed in any case.
func (c *Child) Stop(grace time.Duration) {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-c.done:
	case <-t.C:
	}
	killGroup(c.id.PID)
	<-c.done
}

// maxLog is the size beyond which a log is moved aside when its process starts again.
const maxLog = 20 << 20

func openLog(path string) (*os.File, error) {
	if path == "" {
		return nil, errors.New("a child process needs a log file")
	}
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		_ = os.Rename(path, path+".1")
	}
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}
