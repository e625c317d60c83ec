package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// slowVault is a running internal/emulator/slowvault of the main module.
type slowVault struct {
	Developer, Workload []string // environments
	Key                 string

	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startSlowVault(ctx context.Context, program, dir string) (*slowVault, error) {
	v := &slowVault{cmd: exec.CommandContext(ctx, program, "-dir", dir)}
	v.cmd.Stderr = os.Stderr
	var err error
	if v.in, err = v.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	v.out = bufio.NewReader(out)
	if err := v.cmd.Start(); err != nil {
		return nil, err
	}
	if err := v.line(v); err != nil {
		v.stop()
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	return v, nil
}

func (v *slowVault) line(into any) error {
	text, err := v.out.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// requests are those answered so far, by "keyvault/decrypt" and the like.
func (v *slowVault) requests() (map[string]int, error) {
	if _, err := io.WriteString(v.in, "\n"); err != nil {
		return nil, err
	}
	counts := map[string]int{}
	return counts, v.line(&counts)
}

func (v *slowVault) stop() {
	_ = v.in.Close()
	_ = v.cmd.Wait()
}

// ownMemory is the peak of the memory that a process has for itself: heap, stacks, data. The pages of its program file,
// which the kernel maps 16 at a time, shares and takes back at will, are not in it.
const ownMemory = "peak memory of its own"

// peakAnonymous runs a process and gives that peak, in MB, as seen every half millisecond.
func peakAnonymous(cmd *exec.Cmd) (mb float64, err error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(500 * time.Microsecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			if err != nil {
				return 0, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out.Bytes())
			}
			return mb, nil
		case <-tick.C:
			status, _ := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/status")
			if _, rest, ok := strings.Cut(string(status), "RssAnon:"); ok {
				if kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64); err == nil {
					mb = max(mb, kb/1024)
				}
			}
		}
	}
}

// maxResident is the kernel's own count of a process that has ended, in MB.
func maxResident(cmd *exec.Cmd) float64 {
	return float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) / 1024
}
