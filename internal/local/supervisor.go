package local

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/emulator"
	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/local/node"
	"github.com/sluice-gitops/sluice/internal/local/process"
	"github.com/sluice-gitops/sluice/internal/local/state"
	"github.com/sluice-gitops/sluice/internal/onboard"
)

// supervisor is the one process that holds a platform together.
type supervisor struct {
	o        Options
	rec      *state.Keeper
	sink     event.Sink // the events file and whoever watches in this process
	log      *slog.Logger
	services *services
	binary   string // sluice-cluster
	emulator *emulator.Emulator
	cluster  *cluster
	sealing  // set by the azure step
}

// Supervise runs the platform of o.Dir, whose lock the caller holds and whose record and ports `up` has settled, until
// ctx ends or a part fails for good. started, when not nil, is called once everything runs. It stops what it started
// before it returns.
func Supervise(ctx context.Context, o Options, started func()) error {
	forgetExported()
	rec, err := state.Load(o.Dir)
	if err != nil {
		return err
	}
	s := &supervisor{o: o, rec: state.NewKeeper(o.Dir, rec)}
	events, err := os.OpenFile(o.Dir.Events(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer events.Close()
	s.sink = event.Tee(event.NewNDJSON(events), o.Sink)
	logFile, err := os.OpenFile(o.Dir.Log("platform"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer logFile.Close()
	s.log = slog.New(slog.NewJSONHandler(io.Writer(logFile), nil))
	s.services = newServices(s.log)
	return s.run(ctx, started)
}

func (s *supervisor) run(ctx context.Context, started func()) error {
	self := process.Self("platform")
	err := s.rec.Update(func(r *state.Record) {
		r.State, r.Supervisor, r.StartedAt, r.Version = state.Starting, &self, time.Now(), s.o.Version
	})
	if err != nil {
		return err
	}
	if err = s.startAll(ctx); err == nil {
		err = s.rec.Update(func(r *state.Record) { r.State = state.Ready })
	}
	if err == nil {
		if started != nil {
			started()
		}
		select {
		case <-ctx.Done():
		case err = <-s.services.failed:
			s.log.Error("a part failed", "error", err)
		}
	}
	s.services.stop()
	end := state.Stopped
	if err != nil && ctx.Err() == nil {
		end = state.Failed
	}
	uerr := s.rec.Update(func(r *state.Record) { r.State, r.Supervisor, r.Children = end, nil, nil })
	if err == nil {
		err = uerr
	}
	return err
}

// startAll brings the platform up step by step; see the package comment.
func (s *supervisor) startAll(ctx context.Context) error {
	var admin *rest.Config
	var found manifests
	if err := s.openServers(); err != nil {
		return s.step(ctx, "servers", "Emulator and Git server", func(*event.Step) (string, error) { return "", err })
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return s.step(gctx, "cluster", "Kubernetes control plane", func(st *event.Step) (detail string, err error) {
			admin, err = s.cluster.wait(gctx, st)
			if err == nil {
				err = s.announceCluster(admin)
			}
			if err != nil {
				return "", err
			}
			return serverVersion(admin), nil
		})
	})
	g.Go(func() error {
		err := s.step(gctx, "azure", "Azure: identity, vault and key", func(st *event.Step) (string, error) { return s.provision(gctx, st) })
		if err != nil {
			return err
		}
		return s.step(gctx, "repository", "Git repository", func(st *event.Step) (detail string, err error) {
			found, detail, err = s.repository(gctx, st)
			return detail, err
		})
	})
	if err := g.Wait(); err != nil {
		return err
	}
	return s.startController(ctx, admin, found)
}

// step runs one step and tells how it went. A failure that only follows from another's, or from an interruption, is
// not told as a failure of its own.
func (s *supervisor) step(ctx context.Context, id, text string, do func(*event.Step) (string, error)) error {
	st := event.Start(s.sink, id, text)
	detail, err := do(st)
	switch {
	case err == nil:
		st.Done(detail)
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return err
	default:
		s.log.Error("step failed", "step", id, "error", err)
		st.Fail(err)
	}
	return err
}

// openServers takes the ports of the emulator and the Git server and starts both, and the control plane, whose issuer
// the emulator names.
func (s *supervisor) openServers() error {
	d, ports := s.o.Dir, s.rec.Get().Ports
	em, err := emulator.Open(emulator.Options{Dir: d.Emulator(), Addr: state.Loopback(ports.Proxy), Log: s.log})
	if err != nil {
		return err
	}
	s.emulator = em
	em.SetIssuerBackend(issuerDocument(d))
	s.services.start("emulator", em.Serve)
	if err := writeCABundle(d, em.CAFile(), os.Getenv); err != nil {
		return err
	}
	l, err := listen(ports.Git)
	if err != nil {
		return err
	}
	serve, err := gitServer(l, d.GitRoot(), func(ctx context.Context) { notify(ctx, d, repositoryURL(ports), s.log) })
	if err != nil {
		return err
	}
	s.services.start("git", serve)
	if s.binary, err = clusterBinary(s.o.Executable, os.Getenv); err != nil {
		return err
	}
	s.cluster = newCluster(d, s.binary, ports, em.Env().IssuerURL, s.hooks())
	s.services.start("cluster", func(ctx context.Context) error { s.cluster.keep(ctx); return nil })
	return nil
}

func (s *supervisor) startController(ctx context.Context, admin *rest.Config, m manifests) error {
	rec := s.rec.Get()
	err := s.step(ctx, "install", "Components", func(st *event.Step) (string, error) {
		c, err := client.New(admin, client.Options{Scheme: onboard.Scheme()})
		if err != nil {
			return "", err
		}
		n, err := m.install(ctx, c, st, s.sink)
		return plural(n, "object"), err
	})
	if err != nil {
		return err
	}
	return s.step(ctx, "controller", "Controller", func(st *event.Step) (string, error) {
		agent, err := newNode(s.o.Dir, s.o.Executable, admin, rec.Ports, rec.Azure.TenantID, s.log, s.hooks())
		if err != nil {
			return "", err
		}
		s.services.start("node", func(ctx context.Context) error { agent.Run(ctx); return nil })
		if err := waitController(ctx, s.o.Dir, rec.Ports, st); err != nil {
			return "", err
		}
		return node.Namespace + "/" + node.Name, reask(ctx, admin)
	})
}

// hooks keep the record of children current, so that nothing can be forgotten by a killed supervisor.
func (s *supervisor) hooks() process.Hooks {
	forget := func(r *state.Record, name string) {
		r.Children = slices.DeleteFunc(r.Children, func(c state.Process) bool { return c.Name == name })
	}
	return process.Hooks{
		Started: func(p state.Process) {
			s.log.Info("started", "process", p.Name, "pid", p.PID)
			if err := s.rec.Update(func(r *state.Record) { forget(r, p.Name); r.Children = append(r.Children, p) }); err != nil {
				s.log.Error("record not written", "error", err)
			}
		},
		Exited: func(p state.Process, err error, again time.Duration) {
			s.log.Warn("ended by itself", "process", p.Name, "pid", p.PID, "error", err, "restart", again.String())
			if err := s.rec.Update(func(r *state.Record) { forget(r, p.Name) }); err != nil {
				s.log.Error("record not written", "error", err)
			}
		},
	}
}
