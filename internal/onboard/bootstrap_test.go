package onboard_test

import (
	"fmt"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/bootstrap"
)

func TestBootstrapOfAnEmptyRepositoryEndsInSyncAndASecondChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.controller()
	w.bootstrap(w.request())
	w.said("✔ committed and pushed", "✔ installed components", "✔ Kustomization reconciled", "⚠ no encrypted file")
	head := w.git.Git("rev-parse", "main")
	if got := w.git.Git("ls-tree", "-r", "--name-only", "main"); got != "gitops/aks/flux-system/gotk-components.yaml\ngitops/aks/flux-system/gotk-sync.yaml\ngitops/aks/flux-system/kustomization.yaml" {
		t.Errorf("the repository holds\n%s", got)
	}
	var ks kustomizev1.Kustomization
	if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: w.namespace}, &ks); err != nil {
		t.Fatal(err)
	}
	if ks.Status.LastAppliedRevision != "main@sha1:"+head {
		t.Errorf("the cluster is at %s, main at %s", ks.Status.LastAppliedRevision, head)
	}
	w.told.Reset()
	w.bootstrap(w.request())
	w.said("no commit")
	if now := w.git.Git("rev-parse", "main"); now != head {
		t.Error("a second run made a commit")
	}
}

func TestBootstrapKeepsHistoryAndTheUsersPatches(t *testing.T) {
	w := newWorld(t)
	before := w.git.Commit(map[string]string{
		"README.md": "x",
		folder + "flux-system/kustomization.yaml": "# mine\nresources:\n- gotk-components.yaml\n- gotk-sync.yaml\npatches:\n- path: mine.yaml\n",
		folder + "flux-system/mine.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: kustomize-controller\n  namespace: " + w.namespace +
			"\n  annotations:\n    mine: \"yes\"\n",
		folder + "app.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: app\n  namespace: " + w.namespace + "\n",
	})
	w.controller()
	w.bootstrap(w.request())
	if parent := w.git.Git("rev-parse", "main~1"); parent != before {
		t.Errorf("the parent is %s, want %s", parent, before)
	}
	if k := w.git.Git("show", "main:"+folder+"flux-system/kustomization.yaml"); !strings.HasPrefix(k, "# mine\n") {
		t.Errorf("kustomization.yaml is now\n%s", k)
	}
	var d appsv1.Deployment
	if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "kustomize-controller"}, &d); err != nil {
		t.Fatal(err)
	}
	if d.Annotations["mine"] != "yes" {
		t.Error("the user's patch is not in force")
	}
	if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "app"}, &corev1.ConfigMap{}); err != nil {
		t.Error(err)
	}
}

// apps is the sample's Kustomization, with an age key in place of the vault's.
func (w *world) apps(decryption string) string {
	return fmt.Sprintf("apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata:\n  name: apps\n  namespace: %[1]s\nspec:\n  dependsOn:\n  - name: %[1]s\n  interval: 2m\n"+
		"  path: ./gitops/aks/apps\n  prune: true\n  sourceRef:\n    kind: GitRepository\n    name: %[1]s\n%[2]s", w.namespace, decryption)
}

const withAge = "  decryption:\n    provider: sops\n    secretRef:\n      name: sops-age\n"

func (w *world) sealedSecret(seal func(string) string) string {
	return seal("apiVersion: v1\nkind: Secret\nmetadata:\n  name: sample\n  namespace: " + w.namespace + "\nstringData:\n  k: canary-plaintext-4711\n")
}

func TestBootstrapProvesThatWhatIsEncryptedCanBeOpened(t *testing.T) {
	w := newWorld(t)
	seal := w.ageKey()
	w.git.Commit(map[string]string{
		folder + "kustomization.yaml": "resources:\n- flux-system\n- apps.yaml\n",
		folder + "apps.yaml":          w.apps(withAge),
		folder + "apps/secret.yaml":   w.sealedSecret(seal),
	})
	w.controller()
	r := w.request()
	r.Manifests.Identity = &bootstrap.Identity{ClientID: "11111111-aaaa-4444-8888-000000000001", TenantID: "22222222-bbbb-4444-8888-000000000002"}
	w.bootstrap(r)
	w.said("✔ 1 encrypted file opened", w.namespace+"/apps")
	if got := w.secret("sample").Data["k"]; string(got) != "canary-plaintext-4711" {
		t.Errorf("the Secret holds %q", got)
	}
	var sa corev1.ServiceAccount
	if err := w.client.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "kustomize-controller"}, &sa); err != nil {
		t.Fatal(err)
	}
	if sa.Annotations["azure.workload.identity/client-id"] != r.Manifests.Identity.ClientID {
		t.Errorf("annotations %v", sa.Annotations)
	}
}

func TestATrialDecryptionThatFailsIsNoSuccess(t *testing.T) {
	for name, tt := range map[string]struct{ decryption, code, says string }{
		"wrong key":  {"  decryption:\n    provider: sops\n    secretRef:\n      name: other-age\n", "SLU-SOPS-031", "other-age"},
		"no decrypt": {"", "SLU-SOPS-030", "apps/secret.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.git.Commit(map[string]string{
				folder + "kustomization.yaml": "resources:\n- flux-system\n- apps.yaml\n",
				folder + "apps.yaml":          w.apps(tt.decryption),
				folder + "apps/secret.yaml":   w.sealedSecret(w.ageKey()),
			})
			w.controller()
			w.refused(w.request(), tt.code, tt.says)
			if strings.Contains(w.told.String(), "✔ 1 encrypted") {
				t.Error("success was told")
			}
		})
	}
}

// The sync itself holds an encrypted file, and the patch that enables decryption stands in the same folder: with Flux,
// the file blocks the patch (fluxcd/flux2 issue 3629).
func TestEncryptedFilesDoNotBlockThePatchThatEnablesDecryption(t *testing.T) {
	w := newWorld(t)
	patch := fmt.Sprintf("apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata:\n  name: %[1]s\n  namespace: %[1]s\nspec:\n%[2]s", w.namespace, withAge)
	w.git.Commit(map[string]string{
		folder + "secret.yaml":                    w.sealedSecret(w.ageKey()),
		folder + "flux-system/kustomization.yaml": "resources:\n- gotk-components.yaml\n- gotk-sync.yaml\npatches:\n- path: decrypt.yaml\n",
		folder + "flux-system/decrypt.yaml":       patch,
	})
	w.controller()
	w.bootstrap(w.request())
	w.said("✔ 1 encrypted file opened")
	if got := w.secret("sample").Data["k"]; string(got) != "canary-plaintext-4711" {
		t.Errorf("the Secret holds %q", got)
	}
}

func TestWhatDoesNotBuildIsNotPushed(t *testing.T) {
	w := newWorld(t)
	before := w.git.Commit(map[string]string{
		folder + "flux-system/kustomization.yaml": "patches:\n- path: gone.yaml\n",
		folder + "flux-system/gone.yaml":          "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: source-controller\n  namespace: flux-system\n",
	})
	w.refused(w.request(), "SLU-RENDER-030", "nothing was pushed", "source-controller")
	if now := w.git.Git("rev-parse", "main"); now != before {
		t.Error("it was pushed")
	}
}

func TestARevisionThatDoesNotBecomeReadyIsNoSuccess(t *testing.T) {
	w := newWorld(t)
	w.git.Commit(map[string]string{folder + "broken.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: Not A Name\n  namespace: " + w.namespace + "\n"})
	w.controller()
	w.refused(w.request(), "SLU-HEALTH-030", "main@sha1:", "run the same command again")
}

func TestProtectedBranchLeavesTheClusterAlone(t *testing.T) {
	w := newWorld(t)
	w.git.Commit(map[string]string{"a": "1"})
	w.git.Hook("pre-receive", `echo "protected branch" >&2; exit 1`)
	w.refused(w.request(), "SLU-GIT-042", "protected branch", "--export")
	err := w.client.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "kustomize-controller"}, &appsv1.Deployment{})
	if client.IgnoreNotFound(err) != nil || err == nil {
		t.Errorf("something was installed: %v", err)
	}
}
