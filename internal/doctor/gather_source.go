package doctor

import (
	"context"
	"net/url"
	"os"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"github.com/sluice-gitops/sluice/internal/source"
)

// gatherSource reads the source's object and, for a GitRepository, fetches from its remote into a folder that is gone
// when the doctor is. Only what Git holds gets there: encrypted values. It returns the tree, nil if there is none.
func gatherSource(ctx context.Context, o Options, f *Facts) source.Tree {
	ref := f.Kustomization.Spec.SourceRef
	s := &f.Source
	s.Kind, s.Name = ref.Kind, ref.Name
	namespace := ref.Namespace
	if namespace == "" {
		namespace = f.Kustomization.Namespace
	}
	if ref.Kind != sourcev1.GitRepositoryKind {
		s.Why = "a look into the cluster's artifact store, which this command does not open: the source is a " + ref.Kind
		return nil
	}
	var repo sourcev1.GitRepository
	if s.Err = o.Client.Get(ctx, namespaced(namespace, ref.Name), &repo); s.Err != nil {
		return nil
	}
	s.URL, s.Suspended = repo.Spec.URL, repo.Spec.Suspend
	if a := repo.Status.Artifact; a != nil {
		s.Fetched = a.Revision
	}
	if c := apimeta.FindStatusCondition(repo.Status.Conditions, meta.ReadyCondition); c != nil && c.Status == "False" {
		s.NotReady = c.Message
	}
	switch {
	case o.NoNetwork:
		s.Why = "the network (--no-network)"
		return nil
	case repo.Spec.Provider != "" && repo.Spec.Provider != "generic":
		s.Why = "the controller's own sign-in to the Git host (spec.provider " + repo.Spec.Provider + ")"
		return nil
	case inClusterOnly(repo.Spec.URL) && o.Pod == nil:
		s.Why = "the cluster's own network: the remote has a name that only the cluster resolves"
		return nil
	}
	auth, err := gitAuth(ctx, o, &repo)
	if err != nil {
		s.Why = "get on secrets in namespace " + namespace + " (the repository's credentials)"
		return nil
	}
	return fetch(ctx, f, &repo, auth)
}

func fetch(ctx context.Context, f *Facts, repo *sourcev1.GitRepository, auth source.Auth) source.Tree {
	s := &f.Source
	dir, err := os.MkdirTemp("", "sluice-doctor-")
	if err != nil {
		s.Why = "a folder for temporary files: " + err.Error()
		return nil
	}
	f.cleanup = append(f.cleanup, func() { _ = os.RemoveAll(dir) })
	spec := source.Spec{URL: repo.Spec.URL, Auth: auth}
	if r := repo.Spec.Reference; r != nil {
		spec.Branch, spec.Tag, spec.SemVer, spec.Name, spec.Commit = r.Branch, r.Tag, r.SemVer, r.Name, r.Commit
	}
	s.Looked = true
	mirror, err := source.OpenMirror(dir)
	if err != nil {
		s.FetchErr = err
		return nil
	}
	rev, err := mirror.Fetch(ctx, spec, nil)
	if err != nil {
		s.FetchErr = err
		return nil
	}
	s.Revision = rev.Name
	var ignores source.Ignores
	extra := ""
	if repo.Spec.Ignore != nil {
		extra = *repo.Spec.Ignore
	}
	tree, err := ignores.View(rev.Tree, extra)
	if err != nil {
		s.FetchErr = err
		return nil
	}
	return tree
}

// gitAuth reads what spec.secretRef names, under the entry names that Flux documents.
func gitAuth(ctx context.Context, o Options, repo *sourcev1.GitRepository) (source.Auth, error) {
	if repo.Spec.SecretRef == nil {
		return source.Auth{}, nil
	}
	var secret corev1.Secret
	if err := o.Client.Get(ctx, namespaced(repo.Namespace, repo.Spec.SecretRef.Name), &secret); err != nil {
		return source.Auth{}, err
	}
	first := func(names ...string) []byte {
		for _, name := range names {
			if v, ok := secret.Data[name]; ok {
				return v
			}
		}
		return nil
	}
	auth := source.Auth{
		Username: string(first("username")), BearerToken: string(first("bearerToken")), CAFile: first("ca.crt", "caFile"),
		ClientCert: first("tls.crt", "certFile"), ClientKey: first("tls.key", "keyFile"),
		Identity: first("identity"), KnownHosts: first("known_hosts"),
	}
	if len(auth.Identity) > 0 {
		auth.IdentityPassphrase = first("password")
	} else {
		auth.Password = string(first("password"))
	}
	return auth, nil
}

// inClusterOnly tells names that no workstation resolves.
func inClusterOnly(remote string) bool {
	u, err := url.Parse(remote)
	if err != nil {
		return false
	}
	h := u.Hostname()
	return strings.HasSuffix(h, ".svc") || strings.HasSuffix(h, ".cluster.local") || (!strings.Contains(h, ".") && !strings.Contains(h, ":") && h != "localhost")
}

// decryptionSecret is the Secret that the Kustomization's spec.decryption names, nil if it names none.
func decryptionSecret(k *kustomizev1.Kustomization) *meta.LocalObjectReference {
	if k.Spec.Decryption == nil {
		return nil
	}
	return k.Spec.Decryption.SecretRef
}
