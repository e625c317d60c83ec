package onboard

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/Masterminds/semver/v3"
	appsv1 "k8s.io/api/apps/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"github.com/sluice-gitops/sluice/internal/bootstrap"
	"github.com/sluice-gitops/sluice/internal/crds"
	"github.com/sluice-gitops/sluice/internal/fault"
)

// minKubernetes is the oldest API server whose CEL rules take the definitions.
const minKubernetes = ">=1.30.0-0"

// Check tells, in Flux's words and order, whether a cluster can run Sluice (pre) and whether it does. The fault at the
// end counts what failed.
func Check(ctx context.Context, cfg *rest.Config, namespace string, pre bool, say Say) error {
	c, err := client.New(cfg, client.Options{Scheme: Scheme()})
	if err != nil {
		return err
	}
	k := &checker{client: c, namespace: namespace, say: say}
	say("►", "checking prerequisites")
	if err := k.kubernetes(cfg); err != nil {
		return err
	}
	if !pre {
		for _, part := range []func(context.Context) error{k.controllers, k.definitions, k.sync} {
			if err := part(ctx); err != nil {
				return err
			}
		}
	}
	if k.failed > 0 {
		return &fault.Fault{Code: "SLU-HEALTH-033", Hop: fault.HopHealth, Seen: fmt.Sprintf("%d checks failed", k.failed), Exit: fault.ExitNo, Fix: k.fix}
	}
	if pre {
		say("✔", "prerequisites checks passed")
		return nil
	}
	say("✔", "all checks passed")
	return nil
}

type checker struct {
	client    client.Client
	namespace string
	say       Say
	failed    int
	fix       string // of the first failure
}

func (k *checker) fail(fix, format string, args ...any) {
	k.failed++
	if k.fix == "" {
		k.fix = fix
	}
	k.say("✗", format, args...)
}

func (k *checker) kubernetes(cfg *rest.Config) error {
	d, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return err
	}
	info, err := d.ServerVersion()
	if err != nil {
		return err
	}
	v, err := semver.NewVersion(info.GitVersion)
	if err != nil {
		return fmt.Errorf("the API server's version %q: %w", info.GitVersion, err)
	}
	want, err := semver.NewConstraint(minKubernetes)
	if err != nil {
		return err
	}
	if !want.Check(v) {
		k.fail("upgrade the cluster", "Kubernetes version %s does not match %s", v, minKubernetes)
		return nil
	}
	k.say("✔", "Kubernetes %s %s", v, minKubernetes)
	return nil
}

func (k *checker) controllers(ctx context.Context) error {
	k.say("►", "checking controllers")
	all, err := controllers(ctx, k.client)
	if err != nil {
		return err
	}
	var sluice, source *appsv1.Deployment
	for i, d := range all {
		if d.Namespace != k.namespace {
			continue
		}
		switch {
		case isSluice(&d):
			sluice = &all[i]
		case d.Name == sourceController:
			source = &all[i]
		}
		if _, err := rolledOut(&d); err != nil {
			k.fail("kubectl describe pods -n "+d.Namespace+" -l app="+d.Name, "%s: deployment not ready: %s", d.Name, err)
		} else {
			k.say("✔", "%s: deployment ready", d.Name)
		}
		for _, c := range d.Spec.Template.Spec.Containers {
			k.say("►", "%s", c.Image)
		}
		if d.Name == controller && !isSluice(&d) {
			k.fail("sluice install --replace-flux -n "+d.Namespace, "%s is Flux's", d.Name)
		}
	}
	return k.sources(ctx, sluice, source)
}

// sources tells who serves them: one controller, and not two.
func (k *checker) sources(ctx context.Context, sluice, source *appsv1.Deployment) error {
	switch {
	case sluice == nil:
		k.fail("sluice install -n "+k.namespace, "no Sluice in %s namespace", k.namespace)
		if source != nil {
			k.say("►", "the sources are served by Flux's source-controller")
		}
		return nil
	case reads(sluice) && source == nil:
		k.fail("flux install --components=source-controller -n "+k.namespace+"; or let Sluice serve them: sluice install -n "+k.namespace, "nobody serves the sources: Flux's source-controller is gone")
		return nil
	case reads(sluice):
		k.say("✔", "the sources are served by Flux's source-controller and read by Sluice")
		return nil
	case source != nil:
		k.fail("sluice install --replace-flux -n "+k.namespace, "source-controller is Flux's, and Sluice serves GitRepositories too")
	}
	needs, err := servedByFluxAlone(ctx, k.client)
	if err == nil && len(needs) > 0 && source == nil {
		k.say("⚠", "nobody serves %s: sluice bootstrap says how Flux's source-controller comes in", strings.Join(needs, ", "))
	}
	return err
}

func (k *checker) definitions(ctx context.Context) error {
	k.say("►", "checking crds")
	for _, def := range crds.All() {
		err := servedNow(ctx, k.client, def.Name)
		if err != nil {
			if client.IgnoreNotFound(err) != nil && !errors.Is(err, errNotServed) {
				return err
			}
			k.fail("sluice install -n "+k.namespace, "%s: not served", def.Name)
			continue
		}
		var live apiextensionsv1.CustomResourceDefinition
		if err := k.client.Get(ctx, client.ObjectKey{Name: def.Name}, &live); err != nil {
			return err
		}
		var versions []string
		for _, v := range live.Spec.Versions {
			if v.Served {
				versions = append(versions, v.Name)
			}
		}
		k.say("✔", "%s/%s", def.Name, strings.Join(versions, ","))
	}
	return nil
}

// sync tells whether the cluster follows a repository. One that doesn't is a choice, no failure; one that should and
// can't is.
func (k *checker) sync(ctx context.Context) error {
	var ks kustomizev1.Kustomization
	err := k.client.Get(ctx, client.ObjectKey{Namespace: k.namespace, Name: orDefault(k.namespace)}, &ks)
	switch {
	case err != nil:
		k.say("►", "bootstrapped: false")
		return nil // absent, or not even served, which was told above
	}
	k.say("✔", "bootstrapped: true")
	if err := ready("Kustomization/"+ks.Namespace+"/"+ks.Name, ks.Status.Conditions); err != nil {
		k.fail("sluice get all -n "+k.namespace, "%s", err)
		return nil
	}
	k.say("✔", "in sync at %s", ks.Status.LastAppliedRevision)
	return nil
}

func orDefault(namespace string) string {
	if namespace == "" {
		return bootstrap.DefaultNamespace
	}
	return namespace
}
