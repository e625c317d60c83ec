// Package azureserver gives tests an Azure of their own: the emulator, serving, with an HTTP client that reaches it as
// Azure's own clients do, and the cluster whose service-account tokens its Entra ID trusts.
//
// It refuses to know our Azure client: what is in the subscription is made by the test, through whatever is under test.
// It stands on internal/emulator alone, so that the tests of internal/azure can use it as well as the emulator's own. Only
// tests import it.
package azureserver

import (
	"context"
	"net/http"
	"sync"
	"testing"

	"github.com/sluice-gitops/sluice/internal/emulator"
)

// Server is an emulator that answers until the test ends.
type Server struct {
	*emulator.Emulator
	HTTP *http.Client // goes through the proxy and trusts the emulator's CA alone
	stop func()
}

// Options are the emulator's: what stands above Azure's clients needs them, and must not know the emulator.
type Options = emulator.Options

// New starts one. Without o.Dir its state is in a folder of the test's.
func New(t testing.TB, o Options) *Server {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	e, err := emulator.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Emulator: e}
	if s.HTTP, err = e.Client(); err != nil {
		_ = e.Close()
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Serve(ctx) }()
	s.stop = sync.OnceFunc(func() {
		s.HTTP.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the emulator: %v", err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

// Stop ends it before the test does, so that another can be opened on its folder.
func (s *Server) Stop() { s.stop() }
