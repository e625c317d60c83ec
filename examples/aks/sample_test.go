package aks

import (
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/sluice-gitops/sluice/internal/bootstrap"
)

var update = flag.Bool("update", false, "rewrite the generated files of gitops/")

// sample is what bootstrap writes into the sample for this release, before anybody's ids and URL are known.
func sample(existing fs.FS) bootstrap.Repository {
	return bootstrap.Repository{
		Sync:     bootstrap.SyncOptions{URL: "https://git.example.com/YOUR-TEAM/YOUR-REPOSITORY.git", Path: ClusterPath},
		Identity: &bootstrap.Identity{ClientID: bootstrap.PlaceholderClientID, TenantID: bootstrap.PlaceholderTenantID},
		Existing: existing,
	}
}

func TestFluxSystemFolderIsWhatBootstrapWrites(t *testing.T) {
	want, err := bootstrap.Files(sample(nil))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range want {
		if *update {
			if err := os.WriteFile(filepath.FromSlash(name), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(filepath.FromSlash(name))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(data) {
			t.Errorf("%s is out of date: make golden", name)
		}
	}
	if *update {
		return // the embedded files are those of before
	}
	if again, err := bootstrap.Files(sample(Files())); err != nil || len(again) > 0 {
		t.Errorf("bootstrap over the sample would write %d files (%v)", len(again), err)
	}
}

func TestLayoutIsTheArticles(t *testing.T) {
	var got []string
	err := fs.WalkDir(Files(), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			got = append(got, strings.TrimPrefix(path, ClusterPath+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"apps.yaml",
		"apps/kustomization.yaml", "apps/namespace.yaml", "apps/secret.yaml",
		"flux-system/gotk-components.yaml", "flux-system/gotk-sync.yaml", "flux-system/kustomization.yaml",
		"flux-system/patches/kustomize-controller-deployment.yaml", "flux-system/patches/kustomize-controller-service-account.yaml",
		"kustomization.yaml",
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("files\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// build renders a folder of the sample, as embedded.
func build(t *testing.T, folder string) resmap.ResMap {
	t.Helper()
	memory := filesys.MakeFsInMemory()
	err := fs.WalkDir(Files(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(Files(), path)
		if err != nil {
			return err
		}
		return memory.WriteFile(path, data)
	})
	if err != nil {
		t.Fatal(err)
	}
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(memory, folder)
	if err != nil {
		t.Fatal(err)
	}
	return built
}

func TestPatchesSwitchOnWorkloadIdentityInTheBuild(t *testing.T) {
	found := 0
	for _, r := range build(t, ClusterPath).Resources() {
		m, err := r.Map()
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case r.GetKind() == "Deployment":
			found++
			template := m["spec"].(map[string]any)["template"].(map[string]any)["metadata"].(map[string]any)
			if got := template["labels"].(map[string]any)["azure.workload.identity/use"]; got != "true" {
				t.Errorf("pod label azure.workload.identity/use = %v", got)
			}
		case r.GetKind() == "ServiceAccount":
			found++
			if got := r.GetAnnotations()["azure.workload.identity/client-id"]; got != bootstrap.PlaceholderClientID {
				t.Errorf("client-id = %q", got)
			}
			if got := r.GetAnnotations()["azure.workload.identity/tenant-id"]; got != bootstrap.PlaceholderTenantID {
				t.Errorf("tenant-id = %q", got)
			}
		case r.GetKind() == "Kustomization" && r.GetName() == "apps":
			found++
			if got := r.GetApiVersion(); got != "kustomize.toolkit.fluxcd.io/v1beta2" {
				t.Errorf("apps.yaml is %s", got)
			}
		}
	}
	if found != 3 {
		t.Errorf("%d of Deployment, ServiceAccount and apps in the build, want each once", found)
	}
}

func TestSecretValueIsWhatTheBuildHolds(t *testing.T) {
	value, err := SecretValue()
	if err != nil || value == "" {
		t.Fatalf("%q, %v", value, err)
	}
	for _, r := range build(t, ClusterPath+"/apps").Resources() {
		if r.GetKind() != "Secret" {
			continue
		}
		m, err := r.Map()
		if err != nil {
			t.Fatal(err)
		}
		if r.GetName() != SecretName || r.GetNamespace() != SecretNamespace {
			t.Errorf("secret %s/%s", r.GetNamespace(), r.GetName())
		}
		if got := m["stringData"].(map[string]any)[SecretKey]; got != value {
			t.Errorf("built %q, accessor gives %q", got, value)
		}
		return
	}
	t.Error("no Secret in the build")
}
