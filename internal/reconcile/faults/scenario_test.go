package faults

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// canary may be found in the cluster's Secret and nowhere else.
const canary = "correct-horse-battery-staple"

// story is a small repository's life: a first sync; a commit that changes, renames, moves and deletes; the end of one
// Kustomization. Three Kustomizations: infra owns a namespace and a definition, apps follows it with an instance, a
// sealed Secret and ConfigMaps, extra has ConfigMaps alone, one of which moves to apps.
type story struct {
	*world
	phase     int
	bystander map[string]types.UID

	mu   sync.Mutex                   // the proxy's goroutines check too
	want map[string]map[string]string // Kustomization → object → value
	at   string                       // the revision that says so
}

// expect makes want what the working copy's revision has to lead to.
func (s *story) expect(want map[string]map[string]string) {
	s.t.Helper()
	at := "main@sha1:" + s.git("rev-parse", "HEAD")
	s.mu.Lock()
	s.want, s.at = want, at
	s.mu.Unlock()
}

func (s *story) expected() (want map[string]map[string]string, at string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.want, s.at
}

const (
	first = iota + 1
	second
	third
)

func newStory(w *world) *story {
	s := &story{world: w, bystander: map[string]types.UID{}}
	other := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace + "-other"}}
	w.create(other)
	for _, name := range []string{"one", "two", "x", "y", "moved"} {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: other.Name, Name: name}, Data: map[string]string{"key": "mine"}}
		if name == "two" || name == "y" { // of a Kustomization with the same name in another namespace
			cm.Labels = map[string]string{"kustomize.toolkit.fluxcd.io/name": "extra", "kustomize.toolkit.fluxcd.io/namespace": other.Name}
		}
		w.create(cm)
		s.bystander[name] = cm.UID
	}
	return s
}

func (s *story) apps() string { return s.namespace + "-apps" }

func (s *story) group() string { return s.namespace + ".example.com" }

func (s *story) thing(size int) string {
	return fmt.Sprintf("apiVersion: %s/v1\nkind: Thing\nmetadata: {name: it}\nspec: {size: %d}\n", s.group(), size)
}

func (s *story) secret(value string) string {
	return s.seal("apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\nstringData:\n  key: " + canary + value + "\n")
}

// enter goes on to the next phase; what is to come of it is in want.
func (s *story) enter(phase int) {
	s.t.Helper()
	s.phase = phase
	s.api.enter(fmt.Sprint(phase))
	switch phase {
	case first:
		s.commit(map[string]string{
			"infra/ns.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + s.apps() + "}\n",
			"infra/crd.yaml": "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things." + s.group() + "}\n" +
				"spec:\n  group: " + s.group() + "\n  scope: Namespaced\n  names: {kind: Thing, plural: things}\n" +
				"  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]\n",
			"apps/thing.yaml": s.thing(1), "apps/secret.yaml": s.secret("1"),
			"apps/one.yaml": configMap("one", "1"), "apps/two.yaml": configMap("two", "1"),
			"extra/x.yaml": configMap("x", "1"), "extra/y.yaml": configMap("y", "1"), "extra/moved.yaml": configMap("moved", "1"),
		})
		s.expect(map[string]map[string]string{
			"infra": {"Namespace/": "", "CustomResourceDefinition/": ""},
			"apps":  {"Thing/it": "1", "Secret/db": canary + "1", "ConfigMap/one": "1", "ConfigMap/two": "1"},
			"extra": {"ConfigMap/x": "1", "ConfigMap/y": "1", "ConfigMap/moved": "1"},
		})
		s.publish()
		s.source()
		s.kustomization("infra", func(k *kustomizev1.KustomizationSpec) { k.TargetNamespace, k.Wait = "", true })
		s.kustomization("apps", func(k *kustomizev1.KustomizationSpec) {
			k.TargetNamespace, k.DependsOn = s.apps(), []kustomizev1.DependencyReference{{Name: "infra"}}
			sealed(k)
		})
		s.kustomization("extra", func(k *kustomizev1.KustomizationSpec) {
			k.TargetNamespace, k.DependsOn = s.apps(), []kustomizev1.DependencyReference{{Name: "infra"}}
		})
	case second:
		s.commit(map[string]string{
			"apps/thing.yaml": s.thing(2), "apps/secret.yaml": s.secret("2"), "apps/one.yaml": configMap("one", "2"),
			"apps/two.yaml": "", "apps/three.yaml": configMap("three", "1"),
			"extra/y.yaml": "", "extra/moved.yaml": "", "apps/moved.yaml": configMap("moved", "1"),
		})
		s.expect(map[string]map[string]string{
			"infra": s.want["infra"],
			"apps":  {"Thing/it": "2", "Secret/db": canary + "2", "ConfigMap/one": "2", "ConfigMap/three": "1", "ConfigMap/moved": "1"},
			"extra": {"ConfigMap/x": "1"},
		})
		s.publish()
	case third:
		s.expect(map[string]map[string]string{"infra": s.want["infra"], "apps": s.want["apps"]})
		if err := s.client.Delete(s.t.Context(), &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "extra"}}); err != nil {
			s.t.Fatal(err)
		}
	}
}

// settled waits until the phase has come to its end, and checks what must be true then.
func (s *story) settled() {
	s.t.Helper()
	s.applied(slices.Sorted(maps.Keys(s.want))...)
	s.untilSource(metav1.ConditionTrue)
	if s.phase == third {
		s.eventually(func() error {
			if _, err := s.get("extra"); !apierrors.IsNotFound(err) {
				return fmt.Errorf("extra is still there: %v", err)
			}
			return nil
		})
	}
	s.check("at the end of phase "+fmt.Sprint(s.phase), true)
}

// live reads everything that bears the owner labels of one of this world's Kustomizations, and values for what want
// compares: Kustomization → object → value.
func (s *story) live() (map[string]map[string]*unstructured.Unstructured, error) {
	kinds := map[string]string{"Namespace": "v1", "ConfigMap": "v1", "Secret": "v1", "CustomResourceDefinition": "apiextensions.k8s.io/v1", "Thing": s.group() + "/v1"}
	found := map[string]map[string]*unstructured.Unstructured{}
	for kind, version := range kinds {
		var list unstructured.UnstructuredList
		list.SetAPIVersion(version)
		list.SetKind(kind)
		err := s.client.List(s.t.Context(), &list, client.MatchingLabels{"kustomize.toolkit.fluxcd.io/namespace": s.namespace})
		if kind == "Thing" && (apierrors.IsNotFound(err) || err != nil && strings.Contains(err.Error(), "no matches")) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			u := &list.Items[i]
			owner, name := u.GetLabels()["kustomize.toolkit.fluxcd.io/name"], u.GetName()
			if u.GetNamespace() == "" {
				name = ""
			}
			if found[owner] == nil {
				found[owner] = map[string]*unstructured.Unstructured{}
			}
			found[owner][u.GetKind()+"/"+name] = u
		}
	}
	return found, nil
}

// valueOf is what want says of an object.
func valueOf(u *unstructured.Unstructured) string {
	switch u.GetKind() {
	case "ConfigMap":
		v, _, _ := unstructured.NestedString(u.Object, "data", "key")
		return v
	case "Secret":
		v, _, _ := unstructured.NestedString(u.Object, "data", "key")
		plain, _ := base64.StdEncoding.DecodeString(v)
		return string(plain)
	case "Thing":
		v, _, _ := unstructured.NestedInt64(u.Object, "spec", "size")
		return fmt.Sprint(v)
	}
	return ""
}

// state is the whole outcome as text, without what differs from run to run.
func (s *story) state() string {
	s.t.Helper()
	live, err := s.live()
	if err != nil {
		s.t.Fatal(err)
	}
	var lines []string
	for owner, objects := range live {
		for name, u := range objects {
			var managers []string
			for _, m := range u.GetManagedFields() {
				fields := ""
				if m.Manager == "kustomize-controller" {
					fields = string(m.FieldsV1.GetRawBytes())
				}
				managers = append(managers, m.Manager+" "+string(m.Operation)+" "+m.Subresource+fields)
			}
			slices.Sort(managers)
			content := map[string]any{"labels": u.GetLabels(), "annotations": u.GetAnnotations(), "managers": managers, "data": u.Object["data"]}
			if u.GetKind() == "Thing" {
				content["spec"] = u.Object["spec"]
			}
			text, err := json.Marshal(content)
			if err != nil {
				s.t.Fatal(err)
			}
			lines = append(lines, owner+" "+name+" "+string(text))
		}
	}
	for name := range s.want {
		k, err := s.get(name)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, e := range k.Status.Inventory.Entries {
			lines = append(lines, name+" inventory "+e.ID+" "+e.Version)
		}
		for _, c := range k.Status.Conditions {
			if c.Type == "Ready" { // the revision is another's
				lines = append(lines, name+" "+c.Type+" "+string(c.Status)+" "+c.Reason)
			}
		}
		lines = append(lines, fmt.Sprintf("%s %d conditions", name, len(k.Status.Conditions)))
	}
	slices.Sort(lines)
	return strings.ReplaceAll(strings.Join(lines, "\n"), s.namespace, "NS")
}
