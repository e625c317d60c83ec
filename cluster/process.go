package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
)

// A control plane's memory is mostly caches that live long, so a low percentage saves a third of the heap for little
// CPU. While starting it is the other way round: everything allocated stays, and collecting costs a third of the time.
const (
	gcPercentStarting = 400
	gcPercentRunning  = 50
	// settling is how long after `ready` the controllers still fill their caches.
	settling = 3 * time.Second
)

// tuneMemory sets the garbage collector for starting, and returns what to call once the control plane is ready. It does
// nothing if the user chose for himself.
func tuneMemory() (ready func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	debug.SetGCPercent(gcPercentStarting)
	return func() {
		time.AfterFunc(settling, func() {
			debug.SetGCPercent(gcPercentRunning)
			debug.FreeOSMemory()
		})
	}
}

// logLevel sets the verbosity of the Kubernetes components, which log to stderr.
func logLevel(v int) {
	fs := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(fs)
	if err := fs.Set("v", strconv.Itoa(v)); err != nil {
		panic(err) // a number always parses
	}
}

// exitWithParentVariable makes the single programs (etcd and so on) end soon after the process that started them. Test
// binaries set it: killed ones, or such that run into go test's timeout, can't stop what they started.
const exitWithParentVariable = "SLUICE_CLUSTER_EXIT_WITH_PARENT"

// exitWithParent ends this process within a second of its parent's end, if that was asked for. An orphan is adopted, so
// its parent's number changes.
func exitWithParent() {
	if os.Getenv(exitWithParentVariable) == "" {
		return
	}
	parent := os.Getppid()
	go func() {
		for range time.Tick(time.Second) {
			if os.Getppid() != parent {
				os.Exit(1)
			}
		}
	}()
}

// untilEOF derives a context that ends when r does: the other end of a pipe closes even if its process is killed.
func untilEOF(ctx context.Context, r io.Reader) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, r)
	}()
	return ctx
}

// lockDir keeps a second control plane out of dir. The lock ends with the process, however that ends.
func lockDir(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s is in use by another sluice-cluster", dir)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { f.Close() }, nil
}
