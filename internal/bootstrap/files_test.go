package bootstrap

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/sluice-gitops/sluice/internal/testkit"
)

const dir = "gitops/aks/flux-system/"

func repository(existing map[string]string) Repository {
	tree := fstest.MapFS{}
	for name, data := range existing {
		tree[name] = &fstest.MapFile{Data: []byte(data)}
	}
	return Repository{
		Sync:     SyncOptions{URL: "https://git.test/team/fleet.git", Path: "./gitops/aks/"},
		Identity: &Identity{ClientID: "11111111-aaaa-4444-8888-000000000001", TenantID: "22222222-bbbb-4444-8888-000000000002"},
		Existing: tree,
	}
}

func mustFiles(t *testing.T, r Repository) map[string][]byte {
	t.Helper()
	files, err := Files(r)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func names(files map[string][]byte) string {
	return strings.ReplaceAll(strings.Join(slices.Sorted(maps.Keys(files)), " "), dir, "")
}

// asTree gives the repository after files were written over it.
func asTree(before map[string]string, files map[string][]byte) map[string]string {
	after := maps.Clone(before)
	if after == nil {
		after = map[string]string{}
	}
	for name, data := range files {
		after[name] = string(data)
	}
	return after
}

func TestAnEmptyRepositoryGetsEveryFile(t *testing.T) {
	files := mustFiles(t, repository(nil))
	want := "gotk-components.yaml gotk-sync.yaml kustomization.yaml " + DeploymentPatch + " " + ServiceAccountPatch
	if got := names(files); got != want {
		t.Fatalf("files %s, want %s", got, want)
	}
	testkit.Golden(t, "testdata/sync.yaml", files[dir+SyncFile])
	testkit.Golden(t, "testdata/kustomization.yaml", files[dir+KustomizationFile])
	testkit.Golden(t, "testdata/deployment-patch.yaml", files[dir+DeploymentPatch])
	testkit.Golden(t, "testdata/service-account-patch.yaml", files[dir+ServiceAccountPatch])
}

func TestASecondRunWritesNothing(t *testing.T) {
	if got := names(mustFiles(t, repository(asTree(nil, mustFiles(t, repository(nil)))))); got != "" {
		t.Errorf("written again: %s", got)
	}
}

func TestANewVersionRewritesOnlyTheComponents(t *testing.T) {
	r := repository(asTree(nil, mustFiles(t, repository(nil))))
	r.Components.Version = "v9.9.9"
	if got := names(mustFiles(t, r)); got != ComponentsFile {
		t.Errorf("written: %s", got)
	}
}

func TestAUsersOwnKustomizationAndPatchesAreKept(t *testing.T) {
	own := map[string]string{
		dir + KustomizationFile: `# ours
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: # two of theirs
  - gotk-components.yaml
  - ./gotk-sync.yaml
  - extra.yaml
patches:
  - path: patches/kustomize-controller-deployment.yaml
  - path: patches/kustomize-controller-service-account.yaml
  - target: {kind: Deployment}
    patch: |
      - {op: remove, path: /spec/replicas}
`,
		dir + DeploymentPatch:     "# own deployment patch\n",
		dir + ServiceAccountPatch: "# own account patch\n",
		"gitops/aks/apps.yaml":    "{}\n",
	}
	if got := names(mustFiles(t, repository(own))); got != "gotk-components.yaml gotk-sync.yaml" {
		t.Errorf("written: %s", got)
	}
}

func TestFluxsOwnKustomizationGainsThePatchesAndKeepsItsComments(t *testing.T) {
	r := repository(map[string]string{dir + KustomizationFile: `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
- gotk-components.yaml # generated
- gotk-sync.yaml
`})
	want := `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
- gotk-components.yaml # generated
- gotk-sync.yaml
patches:
- path: patches/kustomize-controller-deployment.yaml
- path: patches/kustomize-controller-service-account.yaml
`
	if got := string(mustFiles(t, r)[dir+KustomizationFile]); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestPatchesListedTheOldWayAreNotListedTwice(t *testing.T) {
	text := `kind: Kustomization
resources: [gotk-components.yaml, gotk-sync.yaml]
patchesStrategicMerge: [patches/kustomize-controller-deployment.yaml, ./patches/kustomize-controller-service-account.yaml]
`
	got, err := kustomizationYAML([]byte(text), []string{ComponentsFile, SyncFile}, patchPaths)
	if err != nil || string(got) != text {
		t.Errorf("err %v, got\n%s", err, got)
	}
}

func TestPlaceholdersGiveWayAndTheRestOfThePatchStays(t *testing.T) {
	patch := `# written by hand
apiVersion: v1
kind: ServiceAccount
metadata:
  name: kustomize-controller
  namespace: flux-system
  annotations:
    azure.workload.identity/client-id: ` + PlaceholderClientID + ` # yours
    azure.workload.identity/tenant-id: ` + PlaceholderTenantID + `
    example.com/owner: team
`
	got := string(mustFiles(t, repository(map[string]string{dir + ServiceAccountPatch: patch}))[dir+ServiceAccountPatch])
	for _, want := range []string{"# written by hand", "example.com/owner: team", "11111111-aaaa-4444-8888-000000000001", "22222222-bbbb-4444-8888-000000000002"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if holdsPlaceholder([]byte(got)) {
		t.Errorf("a placeholder is left in\n%s", got)
	}
}

func TestIDsOfAUserAreReplacedOnlyWhenAsked(t *testing.T) {
	tree := asTree(nil, mustFiles(t, repository(nil)))
	r := repository(tree)
	r.Identity.ClientID = "33333333-cccc-4444-8888-000000000003"
	if got := names(mustFiles(t, r)); got != "" {
		t.Errorf("written unasked: %s", got)
	}
	r.Identity.Replace = true
	files := mustFiles(t, r)
	if got := names(files); got != ServiceAccountPatch {
		t.Errorf("written: %s", got)
	}
	want := strings.Replace(tree[dir+ServiceAccountPatch], "11111111-aaaa-4444-8888-000000000001", "33333333-cccc-4444-8888-000000000003", 1)
	if got := string(files[dir+ServiceAccountPatch]); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestWithoutAnIdentityNoPatchIsWrittenOrListed(t *testing.T) {
	r := repository(nil)
	r.Identity = nil
	files := mustFiles(t, r)
	if got := names(files); got != "gotk-components.yaml gotk-sync.yaml kustomization.yaml" {
		t.Errorf("written: %s", got)
	}
	if strings.Contains(string(files[dir+KustomizationFile]), "patches") {
		t.Errorf("kustomization.yaml:\n%s", files[dir+KustomizationFile])
	}
}

func TestBadInputIsRefusedBeforeAnythingIsWritten(t *testing.T) {
	for name, change := range map[string]func(*Repository){
		"no URL":             func(r *Repository) { r.Sync.URL = "" },
		"a name not a name":  func(r *Repository) { r.Sync.Name = "Not A Name" },
		"an id with a quote": func(r *Repository) { r.Identity.ClientID = `x": y` },
		"no tenant":          func(r *Repository) { r.Identity.TenantID = "" },
		"a broken kustomize": func(r *Repository) { r.Existing = fstest.MapFS{dir + KustomizationFile: {Data: []byte("a: [")}} },
		"resources not alist": func(r *Repository) {
			r.Existing = fstest.MapFS{dir + KustomizationFile: {Data: []byte("resources: x")}}
		},
		"not a ServiceAccount": func(r *Repository) {
			r.Existing = fstest.MapFS{dir + ServiceAccountPatch: {Data: []byte("kind: Pod\nx: " + PlaceholderClientID)}}
		},
	} {
		r := repository(nil)
		change(&r)
		if files, err := Files(r); err == nil {
			t.Errorf("%s: accepted, %d files", name, len(files))
		}
	}
}

func TestSyncCarriesTheSecretAndTheClampedPath(t *testing.T) {
	text, err := Sync(SyncOptions{URL: "ssh://git@git.test/fleet", Branch: "007", Path: "../up", SecretRef: "git-credentials"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\n    branch: \"007\"\n", "\n  path: ./up\n", "\n  secretRef:\n    name: git-credentials\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}
