package local

import (
	"context"
	"fmt"
	"net"
	"time"

	"k8s.io/client-go/discovery"

	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/local/state"
)

// verify asks each part of a running platform whether it works, and waits for those that are being restarted. It
// returns what the first silent part last said when ctx ends or after a minute.
func verify(ctx context.Context, d state.Dir, ports state.Ports, step *event.Step) error {
	parts := []struct {
		name string
		ask  func(context.Context) error
	}{
		{"Azure emulator", func(ctx context.Context) error { return dial(ctx, ports.Proxy) }},
		{"Git server", func(ctx context.Context) error {
			return httpOK(ctx, repositoryURL(ports)+"/info/refs?service=git-upload-pack")
		}},
		{"Kubernetes API", func(ctx context.Context) error { return apiReady(ctx, d) }},
		{"controller", func(ctx context.Context) error { return healthy(ctx, ports) }},
	}
	for _, p := range parts {
		step.Progress("asking the " + p.name)
		if err := poll(ctx, time.Minute, func() error { return p.ask(ctx) }); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

func dial(ctx context.Context, port int) error {
	c, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, "tcp", state.Loopback(port))
	if err != nil {
		return err
	}
	return c.Close()
}

func apiReady(ctx context.Context, d state.Dir) error {
	cfg, err := adminConfig(d)
	if err != nil {
		return err
	}
	cfg.Timeout = 2 * time.Second
	c, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return err
	}
	return c.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}
