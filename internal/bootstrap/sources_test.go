package bootstrap

import (
	"os"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

func fluxComponents(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("testdata/flux-components.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestWhereFluxServesTheSourcesTheComponentsOnlyReadThem(t *testing.T) {
	text := mustComponents(t, Options{FluxSources: true})
	for _, left := range []string{"name: source-controller", "gitrepositories.source", "storage-adv-addr", "port: http\n", "containerPort: 9090"} {
		if strings.Contains(string(text), left) {
			t.Errorf("%q is in the manifest", left)
		}
	}
	var d appsv1.Deployment
	object(t, text, "Deployment", "kustomize-controller", &d)
	if args := strings.Join(d.Spec.Template.Spec.Containers[0].Args, " "); !strings.Contains(args, "--git-repositories=read") {
		t.Errorf("args %s", args)
	}
	var role rbacv1.ClusterRole
	object(t, text, "ClusterRole", "crd-controller-flux-system", &role)
	if got := strings.Join(role.Rules[0].Verbs, " "); role.Rules[0].APIGroups[0] != sourceGroup || got != "get list watch" {
		t.Errorf("sources: %s", got)
	}
	// Artifacts come from a pod of the same namespace: the way there has to be open.
	var p networkingv1.NetworkPolicy
	object(t, text, "NetworkPolicy", "kustomize-controller", &p)
	if to := p.Spec.Egress[0].To[0]; to.NamespaceSelector == nil || len(to.NamespaceSelector.MatchLabels) > 0 || len(p.Spec.Egress[0].Ports) > 0 {
		t.Errorf("egress %+v", p.Spec.Egress)
	}
	if strings.Contains(string(mustComponents(t, Options{})), "git-repositories") {
		t.Error("Sluice's own way is named by a flag that older images don't know")
	}
}

func TestAPIServerTakesTheComponentsThatOnlyReadSources(t *testing.T) {
	if out := kubectl(t, testkit.Cluster(t), mustComponents(t, Options{Namespace: "reading", FluxSources: true})); strings.Contains(out, "Warning") {
		t.Errorf("the API server warns:\n%s", out)
	}
}

// Who serves, decided by what the caller says, by what the user wants and by what the repository holds.
func TestWhoServesTheSources(t *testing.T) {
	flux := fluxComponents(t)
	chart := "apiVersion: source.toolkit.fluxcd.io/v1\nkind: HelmRepository\nmetadata:\n  name: charts\n"
	deployment := "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: source-controller\n  namespace: flux-system\n"
	for name, tt := range map[string]struct {
		existing map[string]string
		sources  Sources
		others   []string
		want     bool
	}{
		"an empty repository":                          {},
		"Flux's, no other source":                      {existing: map[string]string{dir + ComponentsFile: flux}},
		"Flux's, a HelmRepository in the repository":   {existing: map[string]string{dir + ComponentsFile: flux, "apps/charts.yaml": chart}, want: true},
		"the same, and the caller knows better":        {existing: map[string]string{dir + ComponentsFile: flux, "apps/charts.yaml": chart}, sources: SourcesSluice},
		"Flux's, and the cluster needs it":             {existing: map[string]string{dir + ComponentsFile: flux}, sources: SourcesFlux, want: true},
		"Flux's, and helm-controller is wanted":        {existing: map[string]string{dir + ComponentsFile: flux}, others: []string{"helm-controller"}, want: true},
		"kept before":                                  {existing: map[string]string{dir + OthersFile: deployment}, want: true},
		"kept before, and to be replaced now":          {existing: map[string]string{dir + OthersFile: deployment}, sources: SourcesSluice},
		"in a file of its own":                         {existing: map[string]string{dir + "source-controller.yaml": deployment}, want: true},
		"Sluice's own, a HelmRepository in the folder": {existing: map[string]string{dir + ComponentsFile: string(ours), "apps/charts.yaml": chart}},
	} {
		r := repository(tt.existing)
		r.Sources, r.Others = tt.sources, tt.others
		text := string(mustFiles(t, r)[dir+ComponentsFile])
		if got := strings.Contains(text, "--git-repositories=read"); got != tt.want {
			t.Errorf("%s: Flux serves: %v, want %v", name, got, tt.want)
		}
	}
}

// stream are the kinds and names of a manifest, one a line.
func stream(t *testing.T, files map[string]string) string {
	t.Helper()
	seen := map[string]bool{}
	var out []string
	for _, name := range []string{ComponentsFile, OthersFile, "source-controller.yaml"} {
		docs, err := documents([]byte(files[dir+name]))
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range docs {
			id := d.GetKind() + "/" + d.GetName()
			if seen[id] {
				t.Errorf("%s stands twice: kustomize refuses that", id)
			}
			seen[id] = true
			out = append(out, id)
		}
	}
	return strings.Join(out, "\n") + "\n"
}

func TestSourceControllerStaysInTheRepositoryWithItsServiceAndGoesWhenItIsReplaced(t *testing.T) {
	r := repository(map[string]string{dir + ComponentsFile: fluxComponents(t)})
	r.Sources = SourcesFlux
	files := mustFiles(t, r)
	after := asTree(map[string]string{dir + ComponentsFile: fluxComponents(t)}, files)
	held := stream(t, after)
	for _, want := range []string{"Deployment/source-controller\n", "Service/source-controller\n", "CustomResourceDefinition/gitrepositories.source.toolkit.fluxcd.io\n",
		"Deployment/kustomize-controller\n", "ClusterRoleBinding/crd-controller-flux-system-others\n"} {
		if !strings.Contains(held, want) {
			t.Errorf("%s is missing in\n%s", want, held)
		}
	}
	r = repository(after)
	if again := mustFiles(t, r); len(again) != 0 {
		t.Errorf("a second run writes %s", names(again))
	}

	r.Sources = SourcesSluice
	after = asTree(after, mustFiles(t, r))
	held = stream(t, after)
	if strings.Contains(held, "Deployment/source-controller\n") || !strings.Contains(held, "Service/source-controller\n") || !strings.Contains(held, "Deployment/helm-controller\n") {
		t.Errorf("after Sluice has replaced it, the folder holds\n%s", held)
	}
	if again := mustFiles(t, repository(after)); len(again) != 0 {
		t.Errorf("a second run writes %s", names(again))
	}
}

func TestAManifestThatFluxExportedJoinsTheComponents(t *testing.T) {
	before := asTree(nil, mustFiles(t, repository(nil)))
	r := repository(before)
	r.Sources = SourcesFlux
	_, err := Files(r)
	if f := fault.From(err); f == nil || f.Code != "SLU-USAGE-071" || !strings.Contains(f.Fix, "flux install --components=source-controller --export > "+dir+"source-controller.yaml") {
		t.Fatalf("the definition of GitRepositories would be pruned: %v", err)
	}
	r.Others = []string{"source-controller"}
	_, err = Files(r)
	if f := fault.From(err); f == nil || f.Code != "SLU-USAGE-065" {
		t.Fatalf("no manifest of it: %v", err)
	}

	before[dir+"source-controller.yaml"] = fluxComponents(t) // namespace, shared roles and kustomize-controller too
	r = repository(before)
	r.Others = []string{"source-controller"}
	after := asTree(before, mustFiles(t, r))
	held := stream(t, after)
	for _, want := range []string{"Deployment/source-controller\n", "ClusterRole/crd-controller-flux-system-source-controller\n", "CustomResourceDefinition/gitrepositories.source.toolkit.fluxcd.io\n"} {
		if !strings.Contains(held, want) {
			t.Errorf("%s is missing in\n%s", want, held)
		}
	}
	if k := after[dir+KustomizationFile]; !strings.Contains(k, "- source-controller.yaml") {
		t.Errorf("it is not listed in\n%s", k)
	}
	if again := mustFiles(t, repository(after)); len(again) != 0 {
		t.Errorf("a second run, without the flag, writes %s", names(again))
	}
}
