package bootstrap

import (
	"os"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
)

func TestFluxsOtherComponentsStayInTheRepository(t *testing.T) {
	flux, err := os.ReadFile("testdata/flux-components.yaml")
	if err != nil {
		t.Fatal(err)
	}
	before := map[string]string{
		dir + ComponentsFile:    string(flux),
		dir + KustomizationFile: "resources:\n- gotk-components.yaml\n- gotk-sync.yaml\npatches:\n- path: mine.yaml # kept\n",
		dir + "mine.yaml":       "x",
	}
	r := repository(before)
	files := mustFiles(t, r)
	kept := string(files[dir+OthersFile])
	for _, want := range []string{"helmreleases.helm.toolkit.fluxcd.io", "image: ghcr.io/fluxcd/helm-controller:v1.5.1", "name: source-controller\n  namespace: flux-system\n---"} {
		if !strings.Contains(kept, want) {
			t.Errorf("%q is not kept in\n%s", want, kept)
		}
	}
	for _, gone := range []string{"fluxcd/source-controller:", "fluxcd/kustomize-controller:", "gitrepositories.source", "kind: Service\n", "kind: Namespace"} {
		if strings.Contains(kept, gone) {
			t.Errorf("%q is kept", gone)
		}
	}
	var b rbacv1.ClusterRoleBinding
	object(t, []byte(kept), "ClusterRoleBinding", "crd-controller-flux-system-others", &b)
	if b.RoleRef.Name != "crd-controller-flux-system-others" || len(b.Subjects) != 2 {
		t.Errorf("helm-controller's binding: %+v", b)
	}
	object(t, []byte(kept), "ClusterRoleBinding", "cluster-reconciler-flux-system-others", &b)
	if b.RoleRef.Name != "cluster-admin" {
		t.Errorf("the reconciler's role: %+v", b.RoleRef)
	}
	k := string(files[dir+KustomizationFile])
	for _, want := range []string{"- gotk-others.yaml", "path: mine.yaml # kept"} {
		if !strings.Contains(k, want) {
			t.Errorf("%q is missing in\n%s", want, k)
		}
	}
	r = repository(asTree(before, files))
	if again := mustFiles(t, r); len(again) != 0 {
		t.Errorf("a second run writes %s", names(again))
	}
}

func TestEventsGoToANotificationControllerThatIsThere(t *testing.T) {
	before := map[string]string{dir + ComponentsFile: "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: notification-controller\n  namespace: flux-system\n"}
	files := mustFiles(t, repository(before))
	const want = "--events-addr=http://notification-controller.$(RUNTIME_NAMESPACE).svc.cluster.local./"
	if !strings.Contains(string(files[dir+ComponentsFile]), want) {
		t.Errorf("%s is missing", want)
	}
	if again := mustFiles(t, repository(asTree(before, files))); len(again) != 0 {
		t.Errorf("a second run writes %s", names(again))
	}
	if strings.Contains(string(mustComponents(t, Options{})), "notification-controller") {
		t.Error("events are posted where nobody listens")
	}
}
