package onboard

import (
	"context"
	"errors"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/bootstrap"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/githost/gitpush"
)

// controller is the name of the Deployment and of the ServiceAccount.
const controller = "kustomize-controller"

// Request is one bootstrap.
type Request struct {
	Client client.Client // of the cluster, with Scheme
	Remote gitpush.Remote

	Manifests   bootstrap.Repository // what to write; Existing is set here
	Commit      gitpush.Change       // message, author and signer; Files and Check are set here
	ReplaceFlux bool

	// Admit is shown the paths that are about to change, before anything is pushed, and may refuse; nil: all may change.
	// It is asked again after a lost race.
	Admit func(ctx context.Context, paths []string) error

	// Credentials returns the data of the Secret that the cluster fetches with, given what it holds already (nil: there
	// is none). It is asked once, before anything is pushed; nil data leaves things as they are.
	Credentials func(ctx context.Context, existing map[string][]byte) (map[string][]byte, error)
	// Trial proves that what is encrypted in the repository can be opened, and says how; it is asked last, with the head
	// that the cluster has applied. Nil: TryDecryption.
	Trial func(ctx context.Context, r *Request, head *gitpush.Head) error

	Patience time.Duration // how long a failure at the pushed revision may last before it is final; 15 s if zero
	Say      Say

	held holdings // of the cluster's sync
}

// Bootstrap writes, commits and pushes the manifests, installs them, and waits until the cluster follows the repository
// at the pushed revision. A second run changes nothing and says so; with newer manifests it upgrades.
func Bootstrap(ctx context.Context, r *Request) error {
	r.Manifests.Sync.Namespace = r.namespace()
	found, err := r.inspect(ctx)
	if err != nil {
		return err
	}
	secret, err := r.credentials(ctx)
	if err != nil {
		return err
	}
	p, err := Publish(ctx, r)
	if err != nil {
		return err
	}
	if err := r.install(ctx, found, secret, stage(p.objects)); err != nil {
		return err
	}
	if err := r.follow(ctx, p.Head); err != nil {
		return err
	}
	if r.Trial != nil {
		return r.Trial(ctx, r, p.Head)
	}
	return TryDecryption(ctx, r, p.Head)
}

func (r *Request) namespace() string {
	if r.Manifests.Components.Namespace == "" {
		return bootstrap.DefaultNamespace
	}
	return r.Manifests.Components.Namespace
}

func (r *Request) branch() string {
	if r.Manifests.Sync.Branch == "" {
		return "main"
	}
	return r.Manifests.Sync.Branch
}

// inspect settles who is to serve the sources, and refuses a cluster that is another's before anything is changed
// anywhere.
func (r *Request) inspect(ctx context.Context) (scene, error) {
	s, err := sceneOf(ctx, r.Client)
	if err != nil {
		return s, err
	}
	r.Manifests.Sources = s.sources(bootstrap.WantFluxSources(r.Manifests.Others), r.ReplaceFlux)
	fluxServes := r.Manifests.Sources == bootstrap.SourcesFlux
	if err := s.permit(r.namespace(), fluxServes, r.ReplaceFlux); err != nil {
		return s, err
	}
	if fluxServes && s.kustomize != nil {
		if err := readable(ctx, r.Client); err != nil {
			return s, err
		}
	}
	r.held, err = r.holdings(ctx, s)
	return s, err
}

// credentials settles the Secret's data; nil: the Secret stays as it is.
func (r *Request) credentials(ctx context.Context) (map[string][]byte, error) {
	if r.Credentials == nil || r.Manifests.Sync.SecretRef == "" {
		return nil, nil
	}
	var s corev1.Secret
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: r.namespace(), Name: r.Manifests.Sync.SecretRef}, &s)
	if client.IgnoreNotFound(err) != nil {
		return nil, err
	}
	if apierrors.IsNotFound(err) {
		s.Data = nil
	} else if s.Data == nil {
		s.Data = map[string][]byte{}
	}
	return r.Credentials(ctx, s.Data)
}

// install applies the definitions, the Secret and the patched components, and the sync last.
func (r *Request) install(ctx context.Context, found scene, secret map[string][]byte, s stages) error {
	fluxServes := s.reads()
	if err := found.permit(r.namespace(), fluxServes, r.ReplaceFlux); err != nil {
		return err // what was published may leave less to Flux than the cluster asks for
	}
	found.tell(fluxServes, r.bringSources(), r.Say)
	r.Say("►", "installing components in %q namespace", r.namespace())
	if err := apply(ctx, r.Client, s.definitions); err != nil {
		return err
	}
	if err := established(ctx, r.Client, s.definitions); err != nil {
		return err
	}
	if secret != nil {
		if err := applySecret(ctx, r.Client, client.ObjectKey{Namespace: r.namespace(), Name: r.Manifests.Sync.SecretRef}, secret); err != nil {
			return err
		}
		r.Say("✔", "Secret %q holds the Git credentials", r.Manifests.Sync.SecretRef)
	}
	if err := keepShared(ctx, r.Client, s.components, r.Say); err != nil {
		return err
	}
	if err := removeFlux(ctx, r.Client, found.gone(fluxServes), r.Say); err != nil {
		return err
	}
	if err := apply(ctx, r.Client, s.components); err != nil {
		return err
	}
	r.Say("✔", "installed components, with the patches of kustomization.yaml")
	return apply(ctx, r.Client, s.sync)
}

// follow waits until the cluster is where the branch is.
func (r *Request) follow(ctx context.Context, head *gitpush.Head) error {
	name := r.Manifests.Sync.Name
	if name == "" {
		name = r.namespace()
	}
	s := &sync{
		client: r.Client, key: client.ObjectKey{Namespace: r.namespace(), Name: name}, revision: revision(r.branch(), head.Commit),
		patience: r.Patience, deployed: client.ObjectKey{Namespace: r.namespace(), Name: controller},
		head: func(ctx context.Context) (string, error) {
			now, err := r.Remote.Head(ctx, r.branch())
			if err != nil {
				return "", err
			}
			return revision(r.branch(), now.Commit), nil
		},
	}
	if s.patience == 0 {
		s.patience = 15 * time.Second
	}
	r.Say("◎", "waiting for Kustomization %q to be reconciled", s.key)
	if err := s.await(ctx); err != nil {
		return err
	}
	r.Say("✔", "Kustomization reconciled: the cluster is at %s", s.revision)
	return nil
}

func revision(branch, commit string) string { return branch + "@sha1:" + commit }

// applySecret makes or replaces the Secret. The fault of a refusal repeats no value.
func applySecret(ctx context.Context, c client.Client, key client.ObjectKey, data map[string][]byte) error {
	var s corev1.Secret
	err := c.Get(ctx, key, &s)
	switch {
	case apierrors.IsNotFound(err):
		s = corev1.Secret{ObjectMeta: meta1(key), Type: corev1.SecretTypeOpaque, Data: data}
		err = c.Create(ctx, &s, client.FieldOwner("flux"))
	case err == nil:
		s.Data = data
		err = c.Update(ctx, &s, client.FieldOwner("flux"))
	}
	if err != nil {
		if apierrors.IsForbidden(err) {
			return err
		}
		return &fault.Fault{Code: "SLU-KUBERNETES-034", Hop: fault.HopAPI, Object: "Secret/" + key.String(), Seen: "the Secret can't be written",
			Why: strings.ToLower(string(apierrors.ReasonForError(err))), Fix: "check your rights: kubectl auth can-i update secrets -n " + key.Namespace, Err: errors.New("details withheld")}
	}
	return nil
}
