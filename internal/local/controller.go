package local

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"k8s.io/client-go/rest"

	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/local/node"
	"github.com/sluice-gitops/sluice/internal/local/process"
	"github.com/sluice-gitops/sluice/internal/local/state"
)

// newNode prepares the agent that runs the controller's Deployment on this machine.
func newNode(d state.Dir, executable string, admin *rest.Config, ports state.Ports, tenant string, log *slog.Logger, hooks process.Hooks) (*node.Agent, error) {
	return node.New(node.Config{
		Dir: d, Executable: executable, Admin: admin, TenantID: tenant, Log: log, Hooks: hooks,
		Flags: []string{
			"--storage-path=" + d.Node("data"), "--storage-addr=" + state.Loopback(ports.Artifact),
			"--metrics-addr=" + state.Loopback(ports.Metrics), "--health-addr=" + state.Loopback(ports.Health),
		},
		Network: []string{
			"HTTPS_PROXY=http://" + state.Loopback(ports.Proxy), "NO_PROXY=" + noProxy, "SSL_CERT_FILE=" + d.CABundle(),
		},
	})
}

// healthy asks the controller's own probe.
func healthy(ctx context.Context, ports state.Ports) error {
	return httpOK(ctx, "http://"+state.Loopback(ports.Health)+"/readyz")
}

func httpOK(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := direct.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return nil
}

// direct uses no proxy: every address it is used for is on this machine.
var direct = &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}

// waitController waits until the controller answers its probe.
func waitController(ctx context.Context, d state.Dir, ports state.Ports, step *event.Step) error {
	step.Progress("waiting for its readiness probe")
	from := size(d.Log(node.Name))
	err := poll(ctx, time.Minute, func() error { return healthy(ctx, ports) })
	if err != nil && ctx.Err() == nil {
		return &fault.Fault{Code: "SLU-PLATFORM-042", Hop: fault.HopPlatform, Object: "controller", Seen: "it doesn't get ready: " + err.Error(),
			Why: tail(d.Log(node.Name), from, 3), Fix: "see " + d.Log(node.Name), Err: err}
	}
	return err
}
