package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/sluice-gitops/sluice/internal/reconcile"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

// childVariable makes this test binary the controller process; it holds a childOptions.
const childVariable = "SLUICE_FAULTS_CHILD"

// concurrent is --concurrent of the controllers.
const concurrent = 2

// childOptions is what a test tells its controller process.
type childOptions struct {
	Host, Namespace, Storage string
	Stats                    string        // path of the socket where it tells of its memory and goroutines
	Verify                   time.Duration // --verify-interval; 0: the default
}

func TestMain(m *testing.M) {
	if text := os.Getenv(childVariable); text != "" {
		fmt.Fprintln(os.Stderr, child(text))
		os.Exit(1)
	}
	testkit.Main(m)
}

// child runs the controllers until it is killed, or its parent is gone and with it the other end of stdin.
func child(text string) error {
	var o childOptions
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	l, err := net.Listen("unix", o.Stats)
	if err != nil {
		return err
	}
	go func() { _ = http.Serve(l, http.HandlerFunc(tellStats)) }()
	return reconcile.Run(context.Background(), reconcile.Options{
		Config: &rest.Config{Host: o.Host}, Namespace: o.Namespace, StoragePath: o.Storage, Concurrent: concurrent,
		VerifyInterval: o.Verify, Log: slog.New(slog.NewJSONHandler(os.Stderr, nil)),
	})
}

// stats is what a process holds when its garbage is collected.
type stats struct {
	Goroutines int
	Heap       uint64 // bytes
}

func tellStats(w http.ResponseWriter, _ *http.Request) {
	debug.FreeOSMemory() // collects twice over, so that pools are empty too
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	_ = json.NewEncoder(w).Encode(stats{runtime.NumGoroutine(), m.HeapAlloc})
}
