package local

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/local/githttp"
	"github.com/sluice-gitops/sluice/internal/local/state"
)

// services are the parts that run until the platform stops. They are stopped one by one, the last started first,
// because each may need those before it until its end.
type services struct {
	log     *slog.Logger
	running []service
	failed  chan error // the first part that ended by itself
}

type service struct {
	name string
	stop func()
}

func newServices(log *slog.Logger) *services { return &services{log: log, failed: make(chan error, 1)} }

// start runs a part. An error before its context ends means that the platform has failed.
func (s *services) start(name string, run func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil && ctx.Err() == nil {
			select {
			case s.failed <- fmt.Errorf("%s: %w", name, err):
			default:
			}
		}
	}()
	s.running = append(s.running, service{name, func() { cancel(); <-done }})
}

func (s *services) stop() {
	for i := len(s.running) - 1; i >= 0; i-- {
		began := time.Now()
		s.running[i].stop()
		s.log.Info("stopped", "part", s.running[i].name, "seconds", time.Since(began).Seconds())
	}
	s.running = nil
}

// listen takes a port of the platform.
func listen(port int) (net.Listener, error) {
	l, err := net.Listen("tcp", state.Loopback(port))
	if err != nil {
		return nil, &fault.Fault{Code: "SLU-PLATFORM-011", Hop: fault.HopPlatform, Seen: fmt.Sprintf("port %d of 127.0.0.1 is in use", port),
			Why: err.Error(), Fix: "sluice up --new-ports", Err: err}
	}
	return l, nil
}

// gitServer serves the repositories below root and calls pushed in the background after each push.
func gitServer(l net.Listener, root string, pushed func(ctx context.Context)) (func(ctx context.Context) error, error) {
	announce := make(chan struct{}, 1)
	h, err := githttp.Handler(root, func(string) {
		select {
		case announce <- struct{}{}:
		default: // one is waiting already and will see this push too
		}
	})
	if err != nil {
		l.Close()
		return nil, err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	return func(ctx context.Context) error {
		go func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-announce:
					pushed(ctx)
				}
			}
		}()
		failed := make(chan error, 1)
		go func() { failed <- srv.Serve(l) }()
		select {
		case err := <-failed:
			return err
		case <-ctx.Done():
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
			defer cancel()
			if srv.Shutdown(stop) != nil {
				srv.Close()
			}
			return nil
		}
	}, nil
}
