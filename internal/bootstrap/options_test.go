package bootstrap

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/sluice-gitops/sluice/internal/testkit"
)

// all is every option away from its default. The names are such as YAML would read as numbers and truths.
var all = Options{Namespace: "gitops", Version: "v1.2.3", Registry: "registry.test:5000/mirror/", Notify: true, PullSecret: "123", LogLevel: "debug",
	ClusterDomain: "k8s.example.org", OwnNamespaceOnly: true, NoNetworkPolicy: true, TolerationKeys: []string{"true", "example.org/gitops"}}

func TestEveryOptionIsInTheManifest(t *testing.T) {
	text := mustComponents(t, all)
	var d appsv1.Deployment
	object(t, text, "Deployment", "kustomize-controller", &d)
	pod := d.Spec.Template.Spec
	if got, want := pod.Containers[0].Image, "registry.test:5000/mirror/sluice:v1.2.3"; got != want {
		t.Errorf("image %s, want %s", got, want)
	}
	for _, arg := range []string{"--log-level=debug", "--watch-all-namespaces=false",
		"--events-addr=http://notification-controller.$(RUNTIME_NAMESPACE).svc.k8s.example.org./",
		"--storage-adv-addr=source-controller.$(RUNTIME_NAMESPACE).svc.k8s.example.org."} {
		if !slices.Contains(pod.Containers[0].Args, arg) {
			t.Errorf("%s is missing in %q", arg, pod.Containers[0].Args)
		}
	}
	if len(pod.ImagePullSecrets) != 1 || pod.ImagePullSecrets[0].Name != "123" {
		t.Errorf("pull secrets %v", pod.ImagePullSecrets)
	}
	if len(pod.Tolerations) != 2 || pod.Tolerations[0].Key != "true" || pod.Tolerations[1].Key != "example.org/gitops" || pod.Tolerations[1].Operator != "Exists" {
		t.Errorf("tolerations %v", pod.Tolerations)
	}
	for _, left := range []string{"kind: NetworkPolicy", "cluster.local", "flux-system"} {
		if strings.Contains(string(text), left) {
			t.Errorf("%q is in the manifest", left)
		}
	}
}

func TestAPIServerTakesTheComponentsWithEveryOption(t *testing.T) {
	if out := kubectl(t, testkit.Cluster(t), mustComponents(t, all)); strings.Contains(out, "Warning") {
		t.Errorf("the API server warns:\n%s", out)
	}
}

func TestOptionsThatTheAPIServerWouldRefuseAreRefused(t *testing.T) {
	for _, o := range []Options{
		{PullSecret: "A B"}, {LogLevel: "loud"}, {ClusterDomain: "a b"}, {TolerationKeys: []string{"a: b"}}, {Registry: "x y"},
	} {
		if _, err := Components(o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}

func TestSubmodulesAreFetchedWhenAskedFor(t *testing.T) {
	for _, on := range []bool{false, true} {
		text, err := Sync(SyncOptions{URL: "https://git.test/fleet.git", Submodules: on})
		if err != nil || strings.Contains(string(text), "recurseSubmodules: true") != on {
			t.Errorf("submodules %v: %v\n%s", on, err, text)
		}
	}
}
