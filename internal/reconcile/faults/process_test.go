package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// process is the controllers as a process of their own, started anew when they were killed.
type process struct {
	t       *testing.T
	options childOptions
	log     buffer

	crashes sync.Mutex // held from a kill until the next process starts

	mu      sync.Mutex
	cmd     *exec.Cmd
	done    chan struct{} // closed when cmd is gone
	stopped bool          // by the test's end: nothing is started any more
	kills   int
}

// buffer is a bytes.Buffer for two.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newProcess(t *testing.T, o childOptions) *process {
	t.Helper()
	p := &process{t: t, options: o}
	t.Cleanup(func() {
		p.kill(false)
		if t.Failed() {
			log := p.log.String()
			head := ""
			if i := strings.Index(log, "\nfatal error: "); i >= 0 { // the stack of each goroutine follows, and is long
				head = log[i:min(len(log), i+4000)] + "\n…\n"
			}
			t.Log(head + log[max(0, len(log)-12000):])
		}
	})
	return p
}

// start starts the process unless the test is over.
func (p *process) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped || p.cmd != nil {
		return
	}
	dir, err := os.MkdirTemp("", "stats-") // t.TempDir can be too long for the name of a socket
	if err != nil {
		p.t.Error(err)
		return
	}
	p.options.Stats = filepath.Join(dir, "s")
	text, err := json.Marshal(p.options)
	if err != nil {
		p.t.Error(err)
		return
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	cmd.Stdout, cmd.Stderr = &p.log, &p.log
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		p.t.Error(err)
		return
	}
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	go func() {
		_ = cmd.Wait() // killed, as a rule
		_ = stdin.Close()
		_ = os.RemoveAll(dir)
		close(done)
	}()
}

// kill ends the process by SIGKILL and waits until it is gone; again says that another may follow.
func (p *process) kill(again bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = p.stopped || !again
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.done
	p.kills++
	p.cmd = nil
}

// crash kills the process, calls meanwhile, and starts the next.
func (p *process) crash(meanwhile func()) {
	p.crashes.Lock()
	defer p.crashes.Unlock()
	p.kill(true)
	meanwhile()
	p.start()
}

// pid of the process that runs now.
func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// dead says that the process ended by itself.
func (p *process) dead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done:
		return p.cmd != nil
	default:
		return false
	}
}

// stats asks the process what it holds.
func (p *process) stats() (s stats, err error) {
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", p.options.Stats)
	}}}
	res, err := c.Get("http://child/")
	if err != nil {
		return s, err
	}
	defer res.Body.Close()
	return s, json.NewDecoder(res.Body).Decode(&s)
}
