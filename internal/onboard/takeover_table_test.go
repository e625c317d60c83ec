package onboard

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/bootstrap"
	"github.com/sluice-gitops/sluice/internal/fault"
)

func deploymentOf(name string, args ...string) *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "flux-system", Name: name}}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "manager", Args: args}}
	return d
}

// Every state of a cluster that a take-over, a second run, or a run after Helm's objects came or went can meet.
func TestWhatATakeOverKeepsAndReplaces(t *testing.T) {
	ks, source := deploymentOf("kustomize-controller", "--watch-all-namespaces"), deploymentOf("source-controller")
	serves, reading := deploymentOf("kustomize-controller", "controller"), deploymentOf("kustomize-controller", "controller", readFlag)
	charts := []string{"2 HelmRepository", "1 HelmChart"}
	for name, tt := range map[string]struct {
		scene           scene
		wanted, replace bool

		sources bootstrap.Sources
		gone    string // names of what is removed
		code    string // of the refusal
		fix     string // part of it
		tells   string // part of what is said
	}{
		"an empty cluster":                           {},
		"an empty cluster, source-controller wanted": {wanted: true, sources: bootstrap.SourcesFlux, tells: "Sluice reads their artifacts"},
		"Flux":                           {scene: scene{kustomize: ks, source: source}, code: "SLU-KUBERNETES-030", fix: "source- and kustomize-controller are replaced", sources: bootstrap.SourcesSluice, gone: "source-controller kustomize-controller"},
		"Flux, to be replaced":           {scene: scene{kustomize: ks, source: source}, replace: true, sources: bootstrap.SourcesSluice, gone: "source-controller kustomize-controller"},
		"Flux with Helm":                 {scene: scene{kustomize: ks, source: source, needs: charts}, code: "SLU-KUBERNETES-030", fix: "source-controller stays for 2 HelmRepository, 1 HelmChart", sources: bootstrap.SourcesFlux, gone: "kustomize-controller"},
		"Flux with Helm, to be replaced": {scene: scene{kustomize: ks, source: source, needs: charts}, replace: true, sources: bootstrap.SourcesFlux, gone: "kustomize-controller", tells: "serves the sources for 2 HelmRepository, 1 HelmChart"},
		"Flux, to be replaced, source-controller wanted":     {scene: scene{kustomize: ks, source: source}, wanted: true, replace: true, sources: bootstrap.SourcesFlux, gone: "kustomize-controller"},
		"Flux without its source-controller, to be replaced": {scene: scene{kustomize: ks}, replace: true, gone: "kustomize-controller"},
		"Flux's source-controller alone":                     {scene: scene{source: source}, code: "SLU-KUBERNETES-030", sources: bootstrap.SourcesSluice, gone: "source-controller"},
		"Flux's source-controller alone, with Helm":          {scene: scene{source: source, needs: charts}, sources: bootstrap.SourcesFlux},
		"a second run":                                          {scene: scene{sluice: serves}},
		"a second run beside source-controller":                 {scene: scene{source: source, sluice: reading, needs: charts}, sources: bootstrap.SourcesFlux, tells: "2 HelmRepository"},
		"the same, replacing":                                   {scene: scene{source: source, sluice: reading, needs: charts}, replace: true, sources: bootstrap.SourcesFlux},
		"Helm vanished":                                         {scene: scene{source: source, sluice: reading}, sources: bootstrap.SourcesFlux, tells: "nothing in the cluster needs it"},
		"Helm vanished, replacing":                              {scene: scene{source: source, sluice: reading}, replace: true, sources: bootstrap.SourcesSluice, gone: "source-controller", tells: "Sluice serves the sources"},
		"Helm vanished, replacing, source-controller wanted":    {scene: scene{source: source, sluice: reading}, wanted: true, replace: true, sources: bootstrap.SourcesFlux},
		"Helm appeared":                                         {scene: scene{sluice: serves, needs: charts}, tells: "nobody serves 2 HelmRepository, 1 HelmChart"},
		"Helm appeared, and source-controller was brought back": {scene: scene{source: source, sluice: serves, needs: charts}, sources: bootstrap.SourcesFlux},
		"source-controller came back for nothing":               {scene: scene{source: source, sluice: serves}, code: "SLU-KUBERNETES-030", sources: bootstrap.SourcesSluice, gone: "source-controller"},
		"source-controller was taken away":                      {scene: scene{sluice: reading}},
		"Flux in another namespace, whatever is to be replaced": {scene: scene{kustomize: func() *appsv1.Deployment { d := ks.DeepCopy(); d.Namespace = "elsewhere"; return d }()}, replace: true, code: "SLU-KUBERNETES-031", fix: "--namespace elsewhere", gone: "kustomize-controller"},
		"source-controller elsewhere, whatever needs it":        {scene: scene{source: func() *appsv1.Deployment { d := source.DeepCopy(); d.Namespace = "elsewhere"; return d }(), needs: charts}, code: "SLU-KUBERNETES-031", fix: "--namespace elsewhere", sources: bootstrap.SourcesFlux},
	} {
		t.Run(name, func(t *testing.T) {
			got := tt.scene.sources(tt.wanted, tt.replace)
			if got != tt.sources {
				t.Errorf("sources %d, want %d", got, tt.sources)
			}
			fluxServes := got == bootstrap.SourcesFlux
			var gone []string
			for _, d := range tt.scene.gone(fluxServes) {
				gone = append(gone, d.Name)
			}
			if names := strings.Join(gone, " "); names != tt.gone {
				t.Errorf("removed: %s, want %s", names, tt.gone)
			}
			err := tt.scene.permit("flux-system", fluxServes, tt.replace)
			if f := fault.From(err); f == nil && tt.code != "" || f != nil && (f.Code != tt.code || !strings.Contains(f.Fix, tt.fix)) {
				t.Errorf("got %v, want %s with %q", err, tt.code, tt.fix)
			}
			var told []string
			tt.scene.tell(fluxServes, "BRING", func(_, format string, args ...any) { told = append(told, fmt.Sprintf(format, args...)) })
			if !slices.ContainsFunc(told, func(s string) bool { return strings.Contains(s, tt.tells) }) && tt.tells != "" {
				t.Errorf("told %q, want %q", told, tt.tells)
			}
		})
	}
}
