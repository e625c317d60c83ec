package main

import (
	"bytes"
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

// startTimeout bounds the start and the end of processes.
const startTimeout = 2 * time.Minute

// ticksPerSecond is the kernel's unit of CPU time in /proc, 100 on every Linux that Go runs on.
const ticksPerSecond = 100

// peer is a GitOps engine as processes.
type peer struct {
	name  string
	procs []*exec.Cmd
}

// program is one process of a peer.
type program struct {
	path string
	args []string
}

// peers says how to run each engine; dir is its folder on tmpfs.
func programs(name, bin, dir string) ([]program, error) {
	ports, err := freePorts(6)
	if err != nil {
		return nil, err
	}
	addr := func(i int) string { return "127.0.0.1:" + strconv.Itoa(ports[i]) }
	storage := []string{"--storage-path=" + filepath.Join(dir, "storage"), "--storage-addr=" + addr(0), "--storage-adv-addr=" + addr(0)}
	common := func(i int) []string {
		return []string{"--metrics-addr=" + addr(i), "--health-addr=" + addr(i+1), "--enable-leader-election=false", "--log-level=info"}
	}
	switch name {
	case "flux":
		return []program{
			{filepath.Join(bin, "source-controller"), append(common(2), storage...)},
			{filepath.Join(bin, "kustomize-controller"), common(4)},
		}, nil
	case "sluice":
		return []program{{filepath.Join(bin, "sluice"), append(append([]string{"controller"}, common(2)...), storage...)}}, nil
	}
	return nil, fmt.Errorf("no peer is called %q", name)
}

// startPeer starts an engine and waits until it is healthy.
func startPeer(ctx context.Context, name, bin, dir, kubeconfig string) (*peer, error) {
	if err := os.MkdirAll(filepath.Join(dir, "storage"), 0o755); err != nil {
		return nil, err
	}
	list, err := programs(name, bin, dir)
	if err != nil {
		return nil, err
	}
	p := &peer{name: name}
	for _, prog := range list {
		log, err := os.Create(filepath.Join(dir, filepath.Base(prog.path)+".log"))
		if err != nil {
			return p, err
		}
		cmd := exec.Command(prog.path, prog.args...)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "RUNTIME_NAMESPACE=flux-system", "TMPDIR="+dir)
		cmd.Stdout, cmd.Stderr = log, log
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			return p, err
		}
		p.procs = append(p.procs, cmd)
		if err := healthy(ctx, prog); err != nil {
			p.stop()
			return nil, fmt.Errorf("%s: %w (see %s)", filepath.Base(prog.path), err, log.Name())
		}
	}
	return p, nil
}

func healthy(ctx context.Context, prog program) error {
	var url string
	for _, a := range prog.args {
		if addr, ok := strings.CutPrefix(a, "--health-addr="); ok {
			url = "http://" + addr + "/readyz"
		}
	}
	return poll(ctx, startTimeout, func() error {
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

// stop ends the processes and waits for them.
func (p *peer) stop() {
	for _, cmd := range p.procs {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		late.Stop()
	}
}

// cpu is the CPU time of the processes so far, in seconds of user and system time.
func (p *peer) cpu() (seconds float64, err error) {
	for _, cmd := range p.procs {
		s, err := cpuOf(cmd.Process.Pid)
		if err != nil {
			return 0, err
		}
		seconds += s
	}
	return seconds, nil
}

func cpuOf(pid int) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:])) // fields[0] is field 3 of proc(5)
	user, err1 := strconv.ParseFloat(fields[11], 64)
	system, err2 := strconv.ParseFloat(fields[12], 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("/proc/%d/stat is not as proc(5) says", pid)
	}
	return (user + system) / ticksPerSecond, nil
}

// memory is a line of /proc/PID/status of all processes together, in MB: VmHWM for the peak, VmRSS for now.
func memory(line string, pids ...int) (mb float64, err error) {
	for _, pid := range pids {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, err
		}
		_, rest, ok := strings.Cut(string(data), line+":")
		if !ok {
			return 0, fmt.Errorf("/proc/%d/status has no %s", pid, line)
		}
		kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
		if err != nil {
			return 0, err
		}
		mb += kb / 1024
	}
	return mb, nil
}

func (p *peer) pids() (pids []int) {
	for _, cmd := range p.procs {
		pids = append(pids, cmd.Process.Pid)
	}
	return pids
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

// poll calls check until it returns nil, every 20 ms, and returns its last error once timeout is over.
func poll(ctx context.Context, timeout time.Duration, check func() error) error {
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

// childrenOf lists the processes that a process has started and not yet waited for.
func childrenOf(pid int) ([]int, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, path := range tasks {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // a thread that has ended
		}
		for _, f := range strings.Fields(string(data)) {
			if child, err := strconv.Atoi(f); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids, nil
}
