package doctor

import (
	"context"
	"errors"
	"net/url"
	"os"
	"slices"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/source"
)

// object is what the kinds of sources have in common.
type sourceObject interface {
	client.Object
	GetArtifact() *meta.Artifact
	GetConditions() []metav1.Condition
}

// kinds of sources, with the names under which the API server grants rights on them.
var kinds = map[string]struct {
	resource string
	empty    func() sourceObject
}{
	sourcev1.GitRepositoryKind:    {"gitrepositories", func() sourceObject { return &sourcev1.GitRepository{} }},
	sourcev1.OCIRepositoryKind:    {"ocirepositories", func() sourceObject { return &sourcev1.OCIRepository{} }},
	sourcev1.BucketKind:           {"buckets", func() sourceObject { return &sourcev1.Bucket{} }},
	sourcev1.ExternalArtifactKind: {"externalartifacts", func() sourceObject { return &sourcev1.ExternalArtifact{} }},
}

var errNoKind = errors.New("the controller reads no source of this kind")

// gatherSource reads the source's object, and the files: of a GitRepository from its remote, into a folder that is gone
// when the doctor is; of every other source from its artifact, as the controller does, in memory. Only what the source
// holds is read: encrypted values. It returns the tree, nil if there is none.
func gatherSource(ctx context.Context, o Options, f *Facts) source.Tree {
	ref := f.Kustomization.Spec.SourceRef
	s := &f.Source
	s.Kind, s.Name, s.Namespace = ref.Kind, ref.Name, ref.Namespace
	if s.Namespace == "" {
		s.Namespace = f.Kustomization.Namespace
	}
	kind, ok := kinds[ref.Kind]
	if !ok {
		s.Err = errNoKind
		return nil
	}
	obj := kind.empty()
	if s.Err = o.Client.Get(ctx, namespaced(s.Namespace, ref.Name), obj); s.Err != nil {
		return nil
	}
	s.Artifact = obj.GetArtifact()
	if s.Artifact != nil {
		s.Fetched = s.Artifact.Revision
	}
	if c := apimeta.FindStatusCondition(obj.GetConditions(), meta.ReadyCondition); c != nil && c.Status == metav1.ConditionFalse {
		s.NotReady = c.Message
	}
	repo, isGit := obj.(*sourcev1.GitRepository)
	s.Others = !isGit || readsGit(f)
	if isGit {
		s.URL, s.Suspended = repo.Spec.URL, repo.Spec.Suspend
	}
	switch {
	case o.NoNetwork:
		s.Why = "the network (--no-network)"
		return nil
	case s.Others && s.Artifact != nil:
		// What the controller reads comes first; a remote that answers here shows the same files where that is out of sight.
		if tree := openArtifact(ctx, o, f); tree != nil || !isGit || s.FetchErr != nil {
			return tree
		}
	case s.Others:
		s.Why = "an artifact: none has been made of " + s.Kind + "/" + s.Name + " yet"
	}
	if !isGit {
		return nil
	}
	return gatherRemote(ctx, o, f, repo)
}

// readsGit says whether the controller was told to read the artifacts of GitRepositories that another one reconciles.
func readsGit(f *Facts) bool {
	if f.Deployment == nil {
		return false
	}
	args := manager(f.Deployment.Spec.Template.Spec.Containers).Args
	return slices.ContainsFunc(args, func(a string) bool { return strings.TrimLeft(a, "-") == "git-repositories=read" })
}

// openArtifact downloads and unpacks the artifact in the source's status. Where it cannot be reached from here, Why says
// what for; that its server answers wrongly is FetchErr.
func openArtifact(ctx context.Context, o Options, f *Facts) source.Tree {
	s := &f.Source
	address := s.Artifact.URL
	if u, err := url.Parse(address); err == nil && o.ArtifactHost != "" {
		u.Host = o.ArtifactHost
		address = u.String()
	} else if inClusterOnly(address) && o.Pod == nil {
		s.Why = "a way to the artifact at " + u.Host + ", which only the cluster resolves: kubectl port-forward -n " +
			f.Controller.Namespace + " svc/source-controller 8080:80, with SOURCE_CONTROLLER_LOCALHOST=localhost:8080"
		return nil
	}
	tree, err := source.OpenArchive(ctx, address, s.Artifact.Digest, source.Limits{})
	if fa := fault.From(err); o.Pod == nil && fa != nil && fa.Code == "SLU-GIT-032" {
		s.Why = "a way to the artifact (" + fa.Seen + ")"
		return nil
	}
	if s.Looked = true; err != nil {
		s.FetchErr = err
		return nil
	}
	s.Revision = s.Artifact.Revision
	return tree
}

// gatherRemote fetches from a GitRepository's remote.
func gatherRemote(ctx context.Context, o Options, f *Facts, repo *sourcev1.GitRepository) source.Tree {
	s := &f.Source
	why := ""
	switch {
	case repo.Spec.Provider != "" && repo.Spec.Provider != sourcev1.GitProviderGeneric:
		why = "the controller's own sign-in to the Git host (spec.provider " + repo.Spec.Provider + ")"
	case inClusterOnly(repo.Spec.URL) && o.Pod == nil:
		why = "the cluster's own network: the remote has a name that only the cluster resolves"
	}
	if why != "" {
		if s.Why == "" {
			s.Why = why
		}
		return nil
	}
	auth, err := gitAuth(ctx, o, repo)
	if err != nil {
		s.Why = "get on secrets in namespace " + s.Namespace + " (the repository's credentials)"
		return nil
	}
	tree, err := fetch(ctx, f, repo, auth)
	if err != nil && s.Others && s.Fetched != "" {
		// Another controller fetches it, with its own means, and does: what cannot be done from here breaks nothing.
		s.Looked, s.Why = false, "a way to the remote ("+oneLine(err)+")"
		return nil
	}
	s.FetchErr = err
	return tree
}

// oneLine is what an error saw, without what follows from it.
func oneLine(err error) string {
	if fa := fault.From(err); fa != nil {
		return fa.Seen
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}

func fetch(ctx context.Context, f *Facts, repo *sourcev1.GitRepository, auth source.Auth) (source.Tree, error) {
	s := &f.Source
	dir, err := os.MkdirTemp("", "sluice-doctor-")
	if err != nil {
		s.Why = "a folder for temporary files: " + err.Error()
		return nil, nil
	}
	f.cleanup = append(f.cleanup, func() { _ = os.RemoveAll(dir) })
	spec := source.Spec{URL: repo.Spec.URL, Auth: auth}
	if r := repo.Spec.Reference; r != nil {
		spec.Branch, spec.Tag, spec.SemVer, spec.Name, spec.Commit = r.Branch, r.Tag, r.SemVer, r.Name, r.Commit
	}
	s.Looked = true
	mirror, err := source.OpenMirror(dir)
	if err != nil {
		return nil, err
	}
	rev, err := mirror.Fetch(ctx, spec, nil)
	if err != nil {
		return nil, err
	}
	var ignores source.Ignores
	extra := ""
	if repo.Spec.Ignore != nil {
		extra = *repo.Spec.Ignore
	}
	tree, err := ignores.View(rev.Tree, extra)
	if err == nil {
		s.Revision = rev.Name
	}
	return tree, err
}

// gitAuth reads what spec.secretRef names.
func gitAuth(ctx context.Context, o Options, repo *sourcev1.GitRepository) (source.Auth, error) {
	if repo.Spec.SecretRef == nil {
		return source.Auth{}, nil
	}
	var secret corev1.Secret
	if err := o.Client.Get(ctx, namespaced(repo.Namespace, repo.Spec.SecretRef.Name), &secret); err != nil {
		return source.Auth{}, err
	}
	return source.AuthOf(secret.Data), nil
}

// inClusterOnly tells names that no workstation resolves.
func inClusterOnly(remote string) bool {
	u, err := url.Parse(remote)
	if err != nil {
		return false
	}
	h := strings.TrimSuffix(u.Hostname(), ".")
	return strings.HasSuffix(h, ".svc") || strings.HasSuffix(h, ".cluster.local") || (!strings.Contains(h, ".") && !strings.Contains(h, ":") && h != "localhost")
}

// decryptionSecret is the Secret that the Kustomization's spec.decryption names, nil if it names none.
func decryptionSecret(k *kustomizev1.Kustomization) *meta.LocalObjectReference {
	if k.Spec.Decryption == nil {
		return nil
	}
	return k.Spec.Decryption.SecretRef
}
