package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/inventory"
	"github.com/sluice-gitops/sluice/internal/reconcile"
	"github.com/sluice-gitops/sluice/internal/source"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

// applied renders the Kustomization apps from dir and applies it as the controller would, inventory included.
func (r *room) applied(dir string) {
	r.t.Helper()
	k := r.kustomization("apps", func(k *kustomizev1.Kustomization) { k.Spec.Path, k.Spec.TargetNamespace = "./apps", r.namespace })
	tree, err := source.DirTree(dir)
	if err != nil {
		r.t.Fatal(err)
	}
	obj := &reconcile.Kustomization{ObjectMeta: k.ObjectMeta}
	obj.Spec.KustomizationSpec = k.Spec
	objects, err := reconcile.Offline{Tree: tree}.Build(r.t.Context(), obj)
	if err != nil {
		r.t.Fatal(err)
	}
	k.Status.Inventory = inventory.Of(objects).Status()
	r.status(k)
	for _, u := range objects {
		if err := r.client.Apply(r.t.Context(), client.ApplyConfigurationFromUnstructured(u), client.ForceOwnership, client.FieldOwner("kustomize-controller")); err != nil {
			r.t.Fatal(err)
		}
	}
}

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if content == "" {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDiffTellsWhatApplyingWouldChangeAndNoSecret(t *testing.T) {
	r := newRoom(t)
	sealed, err := os.ReadFile(filepath.Join(buildRepository(t), "apps", "secret.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{
		".git/HEAD":          "ref: refs/heads/main\n",
		"apps/keep.yaml":     "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: keep}\ndata: {a: \"1\", b: \"2\"}\n",
		"apps/drop.yaml":     "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: drop}\n",
		"apps/pinned.yaml":   "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: pinned, annotations: {kustomize.toolkit.fluxcd.io/prune: disabled}}\n",
		"apps/sealed.yaml":   string(sealed),
		"apps/plain.yaml":    "apiVersion: v1\nkind: Secret\nmetadata: {name: plain}\nstringData: {token: " + sealedValue + "-1}\n",
		"apps/workload.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: \"i:1\"}]}\n",
	})
	r.applied(dir)
	diff := func() (string, string, int) { return r.run("diff", "ks", "apps", "--path", filepath.Join(dir, "apps")) }
	if out, errs, code := diff(); code != 0 || out != "" {
		t.Fatalf("what was just applied differs: exit %d, %s%s", code, out, errs)
	}
	writeFiles(t, dir, map[string]string{
		"apps/keep.yaml":     "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: keep, labels: {app.kubernetes.io/name: x}}\ndata: {a: \"1\", b: \"3\", c: \"two\\nlines\"}\n",
		"apps/drop.yaml":     "",
		"apps/pinned.yaml":   "",
		"apps/new.yaml":      "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: new}\n",
		"apps/plain.yaml":    "apiVersion: v1\nkind: Secret\nmetadata: {name: plain}\nstringData: {token: " + sealedValue + "-2}\n",
		"apps/workload.yaml": "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: \"i:2\"}]}\n",
	})
	out, errs, code := diff()
	if code != 1 || !strings.Contains(errs, "identified at least one change") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if strings.Contains(out+errs, sealedValue) || strings.Contains(out+errs, "ENC[") {
		t.Error("a value of a Secret is shown")
	}
	testkit.Golden(t, filepath.Join("testdata", "diff.golden"), []byte(r.generic(out)))
	var cm corev1.ConfigMap
	if err := r.client.Get(t.Context(), client.ObjectKey{Namespace: r.namespace, Name: "keep"}, &cm); err != nil || cm.Data["b"] != "2" {
		t.Errorf("the cluster was changed: %v, %v", cm.Data, err)
	}
}

func TestDiffFailsAboveOne(t *testing.T) {
	r := newRoom(t)
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{".git/HEAD": "x", "apps/bad.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: Bad_Name}\nstringData: {token: " + sealedValue + "}\n"})
	for _, args := range [][]string{{"nosuch", "--path", dir}, {"nosuch"}} {
		if _, errs, code := r.run(append([]string{"diff", "ks"}, args...)...); code <= 1 {
			t.Errorf("%v: exit %d: %s", args, code, errs)
		}
	}
	r.kustomization("apps", func(k *kustomizev1.Kustomization) { k.Spec.TargetNamespace = r.namespace })
	out, errs, code := r.run("diff", "ks", "apps", "--path", filepath.Join(dir, "apps"))
	if code <= 1 || !strings.Contains(errs, "Bad_Name") || strings.Contains(out+errs, sealedValue) {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
}

func TestANewNameOfASealedSecretIsNoDifference(t *testing.T) {
	r := newRoom(t)
	dir := t.TempDir()
	env, err := os.ReadFile(filepath.Join(buildRepository(t), "apps", "db.env"))
	if err != nil {
		t.Fatal(err)
	}
	writeFiles(t, dir, map[string]string{
		".git/HEAD": "x", "apps/db.env": string(env),
		"apps/kustomization.yaml": "secretGenerator:\n- {name: env, envs: [db.env]}\n",
	})
	k := r.kustomization("apps", func(k *kustomizev1.Kustomization) { k.Spec.TargetNamespace = r.namespace })
	there := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "env-2222222222"}}
	if err := r.client.Create(t.Context(), there); err != nil {
		t.Fatal(err)
	}
	k.Status.Inventory = &kustomizev1.ResourceInventory{Entries: []kustomizev1.ResourceRef{{ID: r.namespace + "_env-2222222222__Secret", Version: "v1"}}}
	r.status(k)
	out, errs, code := r.run("diff", "ks", "apps", "--path", filepath.Join(dir, "apps"))
	if code != 0 || !strings.Contains(out, "unknown") || strings.Contains(out, "deleted") || !strings.Contains(errs, "--decrypt") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
}
