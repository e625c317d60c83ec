package local

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/local/state"
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
	c, err := client.New(cfg, client.Options{Scheme: scheme})
	if err != nil {
		log.Warn("push not announced", "error", err)
		return
	}
	var repos sourcev1.GitRepositoryList
	if err := c.List(ctx, &repos); err != nil {
		log.Warn("push not announced", "error", err)
		return
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{
		meta.ReconcileRequestAnnotation: time.Now().Format(time.RFC3339Nano),
	}}})
	if err != nil {
		return
	}
	for i := range repos.Items {
		r := &repos.Items[i]
		if !sameRepository(r.Spec.URL, url) {
			continue
		}
		if err := c.Patch(ctx, r, client.RawPatch(types.MergePatchType, patch), client.FieldOwner("sluice-webhook")); err != nil {
			log.Warn("push not announced", "repository", r.Namespace+"/"+r.Name, "error", err)
			continue
		}
		log.Info("push announced", "repository", r.Namespace+"/"+r.Name)
	}
}

// sameRepository compares URLs as Git hosts do: a trailing slash or .git makes no difference.
func sameRepository(a, b string) bool {
	norm := func(s string) string { return strings.TrimSuffix(strings.TrimSuffix(s, "/"), ".git") }
	return norm(a) == norm(b)
}
