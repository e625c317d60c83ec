package local

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/local/node"
	"github.com/sluice-gitops/sluice/internal/onboard"
)

// manifests are what the platform's cluster is to be given: what bootstrap published, or why there is nothing.
type manifests struct {
	*onboard.Published
	broken error // the flux-system folder doesn't build
}

// install brings the manifests into the cluster as bootstrap does. Where they can't be built but an earlier install
// stands, it warns and leaves that alone: the user's repository may be broken without the platform being so. c knows
// onboard.Scheme().
func (m manifests) install(ctx context.Context, c client.Client, step *event.Step, sink event.Sink) (objects int, err error) {
	if m.broken != nil {
		if !installed(ctx, c) || ctx.Err() != nil {
			return 0, m.broken
		}
		event.Warning(sink, "the components stay as they are: "+m.broken.Error())
		return 0, nil
	}
	return m.Install(ctx, c, tell(step, sink))
}

func installed(ctx context.Context, c client.Reader) bool {
	return c.Get(ctx, client.ObjectKey{Namespace: node.Namespace, Name: node.Name}, &appsv1.Deployment{}) == nil
}

// tell makes what bootstrap says the progress of a step, and a warning where it warns.
func tell(step *event.Step, sink event.Sink) onboard.Say {
	return func(glyph, format string, args ...any) {
		if glyph == "⚠" {
			event.Warning(sink, fmt.Sprintf(format, args...))
			return
		}
		step.Progress(fmt.Sprintf(format, args...))
	}
}
