package lab

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// StartTimeout bounds the start and the end of processes.
const StartTimeout = 2 * time.Minute

// Peer is a GitOps engine as processes.
type Peer struct {
	Name  string
	procs []*exec.Cmd
}

// program is one process of a peer.
type program struct {
	path string
	args []string
}

// Setup says where an engine runs.
type Setup struct {
	Bin        string   // folder of the built programs
	Dir        string   // folder of its storage, temp files and logs; a new one unless it was this engine's before
	Kubeconfig string   // file
	Storage    string   // host:port at which artifacts are served and advertised; empty: a free port
	Flags      []string // that both engines know
}

// programs says how to run each engine.
func programs(name string, s Setup) ([]program, error) {
	ports, err := freePorts(6)
	if err != nil {
		return nil, err
	}
	addr := func(i int) string { return "127.0.0.1:" + strconv.Itoa(ports[i]) }
	if s.Storage == "" {
		s.Storage = addr(0)
	}
	storage := []string{"--storage-path=" + filepath.Join(s.Dir, "storage"), "--storage-addr=" + s.Storage, "--storage-adv-addr=" + s.Storage}
	with := func(i int, flags ...string) []string {
		return append(flags, "--metrics-addr="+addr(i), "--health-addr="+addr(i+1), "--enable-leader-election=false", "--log-level=info")
	}
	source := program{filepath.Join(s.Bin, "source-controller"), with(2, storage...)}
	kustomize := program{filepath.Join(s.Bin, "kustomize-controller"), with(4, s.Flags...)}
	switch name {
	case "flux":
		return []program{source, kustomize}, nil
	case "source-controller":
		return []program{source}, nil
	case "kustomize-controller":
		return []program{kustomize}, nil
	case "sluice":
		return []program{{filepath.Join(s.Bin, "sluice"), with(2, append(append([]string{"controller"}, storage...), s.Flags...)...)}}, nil
	}
	return nil, fmt.Errorf("no peer is called %q", name)
}

// StartPeer starts an engine, flux or sluice, or one of Flux's two controllers, and waits until it is healthy.
func StartPeer(ctx context.Context, name string, s Setup) (*Peer, error) {
	if err := os.MkdirAll(filepath.Join(s.Dir, "storage"), 0o755); err != nil {
		return nil, err
	}
	list, err := programs(name, s)
	if err != nil {
		return nil, err
	}
	p := &Peer{Name: name}
	for _, prog := range list {
		if err := p.start(ctx, prog, s); err != nil {
			p.Stop()
			return nil, err
		}
	}
	return p, nil
}

func (p *Peer) start(ctx context.Context, prog program, s Setup) error {
	log, err := os.Create(filepath.Join(s.Dir, filepath.Base(prog.path)+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(prog.path, prog.args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.Kubeconfig, "RUNTIME_NAMESPACE=flux-system", "TMPDIR="+s.Dir)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.procs = append(p.procs, cmd)
	if err := healthy(ctx, prog); err != nil {
		return fmt.Errorf("%s: %w (see %s)", filepath.Base(prog.path), err, log.Name())
	}
	return nil
}

func healthy(ctx context.Context, prog program) error {
	var url string
	for _, a := range prog.args {
		if addr, ok := strings.CutPrefix(a, "--health-addr="); ok {
			url = "http://" + addr + "/readyz"
		}
	}
	return Poll(ctx, StartTimeout, func() error {
		resp, err := http.Get(url)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s says %s", url, resp.Status)
		}
		return nil
	})
}

// Stop ends the processes and waits for them.
func (p *Peer) Stop() {
	for _, cmd := range p.procs {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		late.Stop()
	}
}

// FreeAddress is a host:port on loopback that nobody listened on a moment ago.
func FreeAddress() (string, error) {
	ports, err := freePorts(1)
	if err != nil {
		return "", err
	}
	return "127.0.0.1:" + strconv.Itoa(ports[0]), nil
}

func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// Poll calls check until it returns nil, every 20 ms, and returns its last error once timeout is over.
func Poll(ctx context.Context, timeout time.Duration, check func() error) error {
	end := time.Now().Add(timeout)
	for {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("not within %v: %w", timeout, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// PIDs are the ids of the processes.
func (p *Peer) PIDs() (pids []int) {
	for _, cmd := range p.procs {
		pids = append(pids, cmd.Process.Pid)
	}
	return pids
}
