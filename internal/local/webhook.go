package local

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/local/state"
	"github.com/sluice-gitops/sluice/internal/onboard"
)

// repositoryURL is where the cluster and the user find the platform's repository.
func repositoryURL(ports state.Ports) string {
	return "http://" + state.Loopback(ports.Git) + "/" + state.RepositoryName
}

// notify asks for the reconciliation of every GitRepository that follows url, as a Git host's webhook and Flux's
// notification-controller do.
func notify(ctx context.Context, d state.Dir, url string, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cfg, err := adminConfig(d)
	if err != nil {
		return // a push before there is a cluster: its first fetch will see it
	}
	err = announce(ctx, cfg, func(o client.Object) bool {
		r, ok := o.(*sourcev1.GitRepository)
		return ok && sameRepository(r.Spec.URL, url)
	})
	if err != nil && ctx.Err() == nil {
		log.Warn("push not announced", "error", err)
	}
}

// reask asks for the reconciliation of all that an earlier run has left a verdict on: after a start, old news is no
// answer to whether everything works.
func reask(ctx context.Context, cfg *rest.Config) error {
	return announce(ctx, cfg, func(o client.Object) bool {
		switch o := o.(type) {
		case *sourcev1.GitRepository:
			return !o.Spec.Suspend && o.Status.Artifact != nil
		case *kustomizev1.Kustomization:
			return !o.Spec.Suspend && o.Status.LastAttemptedRevision != ""
		}
		return false
	})
}

// announce annotates the chosen sources and Kustomizations with a reconcile request of now.
func announce(ctx context.Context, cfg *rest.Config, chosen func(client.Object) bool) error {
	c, err := client.New(cfg, client.Options{Scheme: onboard.Scheme()})
	if err != nil {
		return err
	}
	var repos sourcev1.GitRepositoryList
	var kustomizations kustomizev1.KustomizationList
	if err := errors.Join(c.List(ctx, &repos), c.List(ctx, &kustomizations)); err != nil {
		return err
	}
	var objects []client.Object
	for i := range repos.Items {
		objects = append(objects, &repos.Items[i])
	}
	for i := range kustomizations.Items {
		objects = append(objects, &kustomizations.Items[i])
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{
		meta.ReconcileRequestAnnotation: time.Now().Format(time.RFC3339Nano),
	}}})
	if err != nil {
		return err
	}
	var errs []error
	for _, o := range objects {
		if chosen(o) {
			errs = append(errs, client.IgnoreNotFound(c.Patch(ctx, o, client.RawPatch(types.MergePatchType, patch), client.FieldOwner("sluice-webhook"))))
		}
	}
	return errors.Join(errs...)
}

// sameRepository compares URLs as Git hosts do: a trailing slash or .git makes no difference.
func sameRepository(a, b string) bool {
	norm := func(s string) string { return strings.TrimSuffix(strings.TrimSuffix(s, "/"), ".git") }
	return norm(a) == norm(b)
}
