package reconcile

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/inventory"
	"github.com/sluice-gitops/sluice/internal/source"
)

// app is one Kustomization's folder in a random repository.
type app struct {
	base      int               // which shared base it builds on; -1: none
	component bool              // whether it takes the shared component
	generated string            // input of its configMapGenerator
	own       map[string]string // file name → value
	plain     bool              // no kustomization.yaml: the files are found
}

// monorepo is the state of a random repository: apps, the bases that they share, and a component.
type monorepo struct {
	apps      []app
	bases     []string
	component string
	elsewhere int // a file that nobody reads
}

func (m monorepo) clone() monorepo {
	m.apps, m.bases = slices.Clone(m.apps), slices.Clone(m.bases)
	for i := range m.apps {
		m.apps[i].own = maps.Clone(m.apps[i].own)
	}
	return m
}

func (m monorepo) files() map[string]string {
	f := map[string]string{"elsewhere.txt": strconv.Itoa(m.elsewhere)}
	for i, v := range m.bases {
		f[fmt.Sprintf("bases/b%d/kustomization.yaml", i)] = "resources: [cm.yaml]\n"
		f[fmt.Sprintf("bases/b%d/cm.yaml", i)] = configMap(fmt.Sprintf("base%d", i), v)
	}
	f["component/kustomization.yaml"] = fmt.Sprintf("apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\ncommonAnnotations: {note: %q}\n", m.component)
	for i, a := range m.apps {
		dir := fmt.Sprintf("k%d/", i)
		names := slices.Sorted(maps.Keys(a.own))
		for _, n := range names {
			f[dir+n] = configMap(fmt.Sprintf("k%d-%s", i, strings.TrimSuffix(n, ".yaml")), a.own[n])
		}
		if a.plain {
			continue
		}
		if a.base >= 0 {
			names = append(names, fmt.Sprintf("../bases/b%d", a.base))
		}
		k := fmt.Sprintf("nameSuffix: -k%d\nresources: [%s]\n", i, strings.Join(names, ", "))
		if a.component {
			k += "components: [../component]\n"
		}
		k += "configMapGenerator:\n- {name: generated, files: [input.txt]}\n"
		f[dir+"input.txt"], f[dir+"kustomization.yaml"] = a.generated, k
	}
	return f
}

// step changes the repository in one random way and says which.
func (m *monorepo) step(r *rand.Rand) string {
	a := &m.apps[r.IntN(len(m.apps))]
	value := strconv.Itoa(r.IntN(1000))
	names := slices.Sorted(maps.Keys(a.own))
	switch r.IntN(10) {
	case 0:
		m.elsewhere++
		return "a file that nobody reads"
	case 1:
		m.bases[r.IntN(len(m.bases))] = value
		return "a shared base"
	case 2:
		a.base = r.IntN(len(m.bases)+1) - 1
		return "another base"
	case 3:
		m.component = value
		return "the component"
	case 4:
		a.component = !a.component
		return "the component taken or left"
	case 5:
		a.generated = value
		return "the generator's input"
	case 6:
		a.own["n"+value+".yaml"] = value
		return "a file added"
	case 7:
		if len(names) > 1 {
			delete(a.own, names[r.IntN(len(names))])
		}
		return "a file deleted"
	case 8:
		n := names[r.IntN(len(names))]
		a.own["moved"+value+".yaml"] = a.own[n]
		delete(a.own, n)
		return "a file renamed"
	default:
		if r.IntN(3) == 0 {
			a.plain = !a.plain
			return "kustomization.yaml deleted or brought back"
		}
		a.own[names[r.IntN(len(names))]] = value
		return "a value"
	}
}

// replaceAll makes the working copy hold exactly the files, and pushes that, by force if the history was cut.
func (w *world) replaceAll(files map[string]string) string {
	w.t.Helper()
	w.git("rm", "-q", "-r", "--ignore-unmatch", ".")
	for name, content := range files {
		path := filepath.Join(w.work, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
	w.git("add", "-A")
	w.git("commit", "-q", "--allow-empty", "-m", "change")
	w.git("push", "-q", "-f", "origin", "HEAD:main")
	w.poke(&sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "app"}})
	return "main@sha1:" + w.git("rev-parse", "HEAD")
}

// Whatever the history, an engine that remembers ends where one that knows nothing would: after each revision, the
// objects in the cluster and the inventory are those of a render from scratch. SLUICE_SOAK_STEPS makes it longer.
func TestAnyHistoryEndsAsFromScratch(t *testing.T) {
	steps := 20
	if n, err := strconv.Atoi(os.Getenv("SLUICE_SOAK_STEPS")); err == nil {
		steps = n
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	state := monorepo{bases: []string{"1", "1"}, component: "1"}
	for i := range 4 {
		state.apps = append(state.apps, app{base: i%3 - 1, generated: "1", own: map[string]string{"a.yaml": "1", "b.yaml": "2"}})
	}
	w := newWorld(t)
	rev := w.replaceAll(state.files())
	w.source()
	var all []*Kustomization
	for i := range state.apps {
		all = append(all, w.kustomization(fmt.Sprintf("k%d", i), nil))
	}
	var past []monorepo
	for n := range steps {
		for _, k := range all {
			w.equalsScratch(w.until(k, "True", rev))
		}
		if t.Failed() {
			t.Fatalf("after step %d", n)
		}
		past = append(past, state.clone())
		what := ""
		switch turn := r.IntN(8); {
		case turn == 0:
			state, what = past[r.IntN(len(past))].clone(), "an earlier state again"
		case turn == 1 && n > 0: // there is a commit to cut off
			w.git("reset", "-q", "--hard", "HEAD~1")
			state = past[max(0, len(past)-2)].clone()
			what = "history cut, and then " + state.step(r)
		default:
			what = state.step(r)
		}
		t.Logf("step %d: %s", n+1, what)
		rev = w.replaceAll(state.files())
	}
}

// equalsScratch compares the objects that k has in the cluster, and its inventory, with a render of the working copy.
func (w *world) equalsScratch(k *Kustomization) {
	w.t.Helper()
	tree, err := source.DirTree(w.work)
	if err != nil {
		w.t.Fatal(err)
	}
	fresh := &Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: k.Namespace, Name: k.Name}}
	k.Spec.KustomizationSpec.DeepCopyInto(&fresh.Spec.KustomizationSpec)
	want, err := Offline{Tree: tree}.Build(w.t.Context(), fresh)
	if err != nil {
		w.t.Fatal(err)
	}
	if got := inventoryOf(w.t, k.Status.Inventory); !got.Equal(inventory.Of(want)) {
		w.t.Errorf("%s: inventory %v, want %v", k.Name, got.Entries(), inventory.Of(want).Entries())
	}
	var live corev1.ConfigMapList
	if err := w.client.List(w.t.Context(), &live, client.InNamespace(w.namespace), client.MatchingLabels{"kustomize.toolkit.fluxcd.io/name": k.Name}); err != nil {
		w.t.Fatal(err)
	}
	have := map[string]string{}
	for _, cm := range live.Items {
		have[cm.Name] = fmt.Sprint(cm.Data, cm.Annotations)
	}
	expect := map[string]string{}
	for _, u := range want {
		data, _, _ := unstructured.NestedStringMap(u.Object, "data")
		expect[u.GetName()] = fmt.Sprint(data, u.GetAnnotations())
	}
	if !maps.Equal(have, expect) {
		w.t.Errorf("%s: the cluster holds\n%v, want\n%v", k.Name, have, expect)
	}
}

func inventoryOf(t *testing.T, status *kustomizev1.ResourceInventory) inventory.Set {
	t.Helper()
	set, err := inventory.FromStatus(status)
	if err != nil {
		t.Fatal(err)
	}
	return set
}
