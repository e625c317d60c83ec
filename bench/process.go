package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sluice-gitops/sluice/bench/lab"
)

// ticksPerSecond is the kernel's unit of CPU time in /proc, 100 on every Linux that Go runs on.
const ticksPerSecond = 100

// peer is an engine whose processes are measured.
type peer struct{ *lab.Peer }

// cpu is the CPU time of the processes so far, in seconds of user and system time.
func (p *peer) cpu() (seconds float64, err error) {
	for _, pid := range p.PIDs() {
		s, err := cpuOf(pid)
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
