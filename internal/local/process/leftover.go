package process

import (
	"os"
	"syscall"
	"time"

	"github.com/sluice-gitops/sluice/internal/local/state"
)

// Self identifies this process under a name.
func Self(name string) state.Process { return Identify(name, os.Getpid()) }

// Identify describes the running process pid under a name.
func Identify(name string, pid int) state.Process {
	return state.Process{Name: name, PID: pid, Start: startTime(pid)}
}

// Alive tells whether p still runs: the same number with the same start time.
func Alive(p state.Process) bool { return p.PID > 0 && p.Start != "" && startTime(p.PID) == p.Start }

// Leftovers finds what still runs of d's platform: the recorded processes that are alive, and every process that
// carries the platform's mark.
func Leftovers(d state.Dir, recorded []state.Process) []state.Process {
	seen := map[int]bool{}
	var found []state.Process
	for _, p := range append(append([]state.Process{}, recorded...), marked(d)...) {
		if !seen[p.PID] && Alive(p) {
			seen[p.PID] = true
			found = append(found, p)
		}
	}
	return found
}

// End asks the processes to end, waits up to grace for all of them, and kills the rest.
func End(ps []state.Process, grace time.Duration) {
	signalAll(ps, syscall.SIGTERM)
	if waitGone(ps, grace) {
		return
	}
	signalAll(ps, syscall.SIGKILL)
	waitGone(ps, 5*time.Second)
}

func signalAll(ps []state.Process, sig syscall.Signal) {
	for _, p := range ps {
		if Alive(p) {
			kill(p.PID, sig)
		}
	}
}

func waitGone(ps []state.Process, limit time.Duration) bool {
	deadline := time.Now().Add(limit)
	for {
		gone := true
		for _, p := range ps {
			gone = gone && !Alive(p)
		}
		if gone || time.Now().After(deadline) {
			return gone
		}
		time.Sleep(10 * time.Millisecond)
	}
}
