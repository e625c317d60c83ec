package plan

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/inventory"
)

var apps = Owner{Name: "apps", Namespace: "flux-system"}

func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(raw); err != nil {
		t.Fatal(err)
	}
	return u
}

// configMap returns ConfigMap ns/a with the annotations ("key: value") and one data key.
func configMap(t *testing.T, value string, annotations ...string) *unstructured.Unstructured {
	t.Helper()
	u := object(t, `{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: ns}, data: {k: "`+value+`"}}`)
	set := map[string]string{}
	for _, a := range annotations {
		k, v, _ := strings.Cut(a, ": ")
		set[k] = v
	}
	if len(set) > 0 {
		u.SetAnnotations(set)
	}
	return u
}

// live gives the object what the API server adds.
func live(u *unstructured.Unstructured, managers ...string) *unstructured.Unstructured {
	u = u.DeepCopy()
	u.SetResourceVersion("7")
	u.SetUID("uid-1")
	var entries []metav1.ManagedFieldsEntry
	for _, m := range managers {
		name, op, _ := strings.Cut(m, "/")
		entries = append(entries, metav1.ManagedFieldsEntry{Manager: name, Operation: metav1.ManagedFieldsOperationType(op)})
	}
	if len(entries) > 0 {
		u.SetManagedFields(entries)
	}
	return u
}

func TestStagesComeInFluxsOrderAndDefinitionsBeforeTheirObjects(t *testing.T) {
	desired := []*unstructured.Unstructured{
		object(t, `{apiVersion: admissionregistration.k8s.io/v1, kind: ValidatingWebhookConfiguration, metadata: {name: v}}`),
		object(t, `{apiVersion: example.com/v1, kind: Widget, metadata: {name: w, namespace: apps}}`),
		object(t, `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: apps}}`),
		object(t, `{apiVersion: storage.k8s.io/v1, kind: StorageClass, metadata: {name: fast}}`),
		object(t, `{apiVersion: v1, kind: Namespace, metadata: {name: apps}}`),
		object(t, `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: widgets.example.com}}`),
		object(t, `{apiVersion: v1, kind: ServiceAccount, metadata: {name: web, namespace: apps}}`),
	}
	p, err := New(desired, inventory.Set{}, Options{Owner: apps})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range p.Stages {
		got = append(got, "# "+s.Stage.String())
		for _, u := range s.Objects {
			got = append(got, inventory.IDOf(u).Display())
		}
	}
	want, err := os.ReadFile("testdata/order.txt")
	if err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(got, "\n") + "\n"; text != string(want) {
		t.Errorf("got\n%swant\n%s", text, want)
	}
	if !p.Union().Equal(p.New) || p.Stale().Len() != 0 {
		t.Error("with an empty old inventory the union is the new one and nothing is stale")
	}
}

func TestOnlyAPruningPlanHasStaleObjects(t *testing.T) {
	keep, drop := configMap(t, "1"), object(t, `{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: ns}}`)
	for _, prune := range []bool{true, false} {
		p, err := New([]*unstructured.Unstructured{keep}, inventory.Of([]*unstructured.Unstructured{keep, drop}), Options{Owner: apps, Prune: prune})
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Stale().Has(inventory.IDOf(drop)); got != prune {
			t.Errorf("prune=%v: stale=%v", prune, got)
		}
		if p.Stale().Has(inventory.IDOf(keep)) {
			t.Error("a desired object is never stale")
		}
	}
}

func TestEveryFaultOfTheSetIsReportedAtOnce(t *testing.T) {
	_, err := New([]*unstructured.Unstructured{
		configMap(t, "1"), configMap(t, "2"), object(t, `{apiVersion: v1, kind: Secret, metadata: {namespace: x}}`),
	}, inventory.Set{}, Options{Owner: apps})
	if err == nil || !strings.Contains(err.Error(), "ConfigMap/ns/a: two manifests") || !strings.Contains(err.Error(), "lacks") {
		t.Fatalf("err = %v", err)
	}
	if f := fault.From(err); f == nil || f.Hop != fault.HopApply || f.Fix == "" {
		t.Errorf("fault = %+v", f)
	}
}

func TestScopedTakesTheNamespaceOffClusterScopedKinds(t *testing.T) {
	u := object(t, `{apiVersion: example.com/v1, kind: Realm, metadata: {name: r, namespace: apps}}`)
	p, err := New([]*unstructured.Unstructured{u, configMap(t, "1")}, inventory.Set{}, Options{Owner: apps})
	if err != nil {
		t.Fatal(err)
	}
	p, err = p.Scoped(func(id inventory.ID) bool { return id.Kind == "Realm" })
	if err != nil {
		t.Fatal(err)
	}
	if !p.New.Has(inventory.ID{Name: "r", Group: "example.com", Kind: "Realm"}) || !p.New.Has(inventory.IDOf(configMap(t, ""))) {
		t.Errorf("new inventory: %v", p.New)
	}
	if u.GetNamespace() != "apps" {
		t.Error("the caller's object was changed")
	}
}

func TestOwnLabelsObjectsAndKeepsTheirOthers(t *testing.T) {
	u := object(t, `{apiVersion: v1, kind: ConfigMap, metadata: {name: a, labels: {app: web, kustomize.toolkit.fluxcd.io/name: other}}}`)
	Own([]*unstructured.Unstructured{u}, "apps", "flux-system")
	if l := u.GetLabels(); l["app"] != "web" || l[LabelName] != "apps" || l[LabelNamespace] != "flux-system" || !apps.Owns(u) {
		t.Errorf("labels: %v", l)
	}
}

var errFault = errors.New("refused")

func invalid(messages ...string) error {
	var list field.ErrorList
	for _, m := range messages {
		list = append(list, field.Invalid(field.NewPath("spec"), "x", m))
	}
	return apierrors.NewInvalid(schema.GroupKind{Kind: "Job"}, "a", list)
}

func TestDecide(t *testing.T) {
	const none = Action("")
	made := configMap(t, "1") // a dry-run that creates has no resourceVersion
	for name, tt := range map[string]struct {
		desired *unstructured.Unstructured
		live    Live
		force   bool
		want    Action
		reason  string
	}{
		"an absent object is created":                {configMap(t, "1"), Live{DryRun: made}, false, Created, "did not exist"},
		"a settled object is unchanged":              {configMap(t, "1"), Live{DryRun: live(made), Settled: true}, false, Unchanged, ""},
		"an equal object is unchanged":               {configMap(t, "1"), Live{DryRun: live(made), Object: live(made)}, false, Unchanged, ""},
		"a differing object is configured":           {configMap(t, "1"), Live{DryRun: live(made), Object: live(configMap(t, "2"))}, false, Configured, "data.k differs"},
		"an unread object that differs is too":       {configMap(t, "1"), Live{DryRun: live(made)}, false, Configured, "differs from the manifest"},
		"a refused object gives its error":           {configMap(t, "1"), Live{DryRunErr: errFault}, true, none, ""},
		"reconcile: disabled in the manifest skips":  {configMap(t, "1", KeyReconcile+": Disabled"), Live{}, false, Skipped, "manifest says " + KeyReconcile},
		"ssa: ignore in the manifest skips":          {configMap(t, "1", KeySSA+": ignore"), Live{}, false, Skipped, "manifest says " + KeySSA},
		"reconcile: disabled on the live one skips":  {configMap(t, "1"), Live{DryRun: live(configMap(t, "1", KeyReconcile+": disabled"))}, false, Skipped, "live object says"},
		"IfNotPresent skips what exists":             {configMap(t, "1", KeySSA+": IfNotPresent"), Live{Object: live(made)}, false, Skipped, "it exists"},
		"IfNotPresent creates what does not":         {configMap(t, "1", KeySSA+": ifnotpresent"), Live{DryRun: made}, false, Created, ""},
		"Override is the default":                    {configMap(t, "1", KeySSA+": Override"), Live{DryRun: live(made), Settled: true}, false, Unchanged, ""},
		"kubectl's fields are taken over":            {configMap(t, "1"), Live{DryRun: live(made, "kubectl-client-side-apply/Update"), Settled: true}, false, Configured, "kubectl-client-side-apply"},
		"kubectl's server-side fields too":           {configMap(t, "1"), Live{DryRun: live(made, "kubectl/Apply"), Settled: true}, false, Configured, "fields of kubectl are"},
		"before-first-apply too":                     {configMap(t, "1"), Live{DryRun: live(made, "before-first-apply/Update"), Settled: true}, false, Configured, "before-first-apply"},
		"other managers keep theirs":                 {configMap(t, "1"), Live{DryRun: live(made, "helm/Update", "argocd/Apply"), Settled: true}, false, Unchanged, ""},
		"Merge leaves kubectl's fields":              {configMap(t, "1", KeySSA+": Merge"), Live{DryRun: live(made, "kubectl-edit/Update"), Settled: true}, false, Unchanged, ""},
		"Merge on the live object too":               {configMap(t, "1"), Live{DryRun: live(configMap(t, "1", KeySSA+": merge"), "kubectl-edit/Update"), Settled: true}, false, Unchanged, ""},
		"kubectl's annotation is removed":            {configMap(t, "1"), Live{DryRun: live(configMap(t, "1", "kubectl.kubernetes.io/last-applied-configuration: {}")), Settled: true}, false, Configured, "last-applied-configuration is removed"},
		"Flux v1's label is removed":                 {configMap(t, "1"), Live{DryRun: labelled(configMap(t, "1"), "fluxcd.io/sync-gc-mark"), Settled: true}, false, Configured, "fluxcd.io/sync-gc-mark is removed"},
		"Merge leaves it":                            {configMap(t, "1", KeySSA+": Merge"), Live{DryRun: labelled(configMap(t, "1"), "fluxcd.io/sync-gc-mark"), Settled: true}, false, Unchanged, ""},
		"an immutable field with spec.force":         {configMap(t, "1"), Live{Object: live(made), DryRunErr: invalid("field is immutable")}, true, Replaced, "spec.force"},
		"an immutable field with the annotation":     {configMap(t, "1", KeyForce+": Enabled"), Live{Object: live(made), DryRunErr: invalid("field is immutable")}, false, Replaced, KeyForce},
		"an immutable field, force on the live one":  {configMap(t, "1"), Live{Object: live(configMap(t, "1", KeyForce+": enabled")), DryRunErr: invalid("field is immutable")}, false, Replaced, KeyForce},
		"an immutable field without force":           {configMap(t, "1"), Live{Object: live(made), DryRunErr: invalid("field is immutable")}, false, none, ""},
		"an object that is also otherwise invalid":   {configMap(t, "1"), Live{Object: live(made), DryRunErr: invalid("field is immutable", "must be positive")}, true, none, ""},
		"an invalid object that does not exist":      {configMap(t, "1"), Live{DryRunErr: invalid("field is immutable")}, true, none, ""},
		"an object that another Kustomization owned": {configMap(t, "1"), Live{DryRun: live(made), Object: live(owned(configMap(t, "2"), Owner{"b", "c"}))}, false, Configured, "Kustomization c/b owned it"},
	} {
		t.Run(name, func(t *testing.T) {
			p := &Plan{Options: Options{Owner: apps, Force: tt.force}}
			c, err := p.Decide(tt.desired, tt.live)
			if c.Action != tt.want || !strings.Contains(c.Reason, tt.reason) {
				t.Errorf("got %q (%s), want %q (…%s…)", c.Action, c.Reason, tt.want, tt.reason)
			}
			if (err != nil) != (tt.want == none) {
				t.Errorf("err = %v", err)
			}
		})
	}
}

func labelled(u *unstructured.Unstructured, key string) *unstructured.Unstructured {
	u = live(u)
	u.SetLabels(map[string]string{key: "x"})
	return u
}

func owned(u *unstructured.Unstructured, o Owner) *unstructured.Unstructured {
	u = u.DeepCopy()
	Own([]*unstructured.Unstructured{u}, o.Name, o.Namespace)
	return u
}

func TestAskPutsTheCheapestQuestion(t *testing.T) {
	for annotation, want := range map[string]Question{
		KeyReconcile + ": disabled": AskNothing, KeySSA + ": Ignore": AskNothing, KeySSA + ": IfNotPresent": AskExistence,
		KeySSA + ": Merge": AskDryRun, "app: web": AskDryRun,
	} {
		if got := Ask(configMap(t, "1", annotation)); got != want {
			t.Errorf("%s: %v, want %v", annotation, got, want)
		}
	}
	u := configMap(t, "1")
	u.SetLabels(map[string]string{KeyReconcile: "DISABLED"})
	if Ask(u) != AskNothing {
		t.Error("a label counts as an annotation does")
	}
}

func TestDecidePrune(t *testing.T) {
	mine := owned(live(configMap(t, "1")), apps)
	with := func(u *unstructured.Unstructured, annotation string) *unstructured.Unstructured {
		u = u.DeepCopy()
		k, v, _ := strings.Cut(annotation, ": ")
		u.SetAnnotations(map[string]string{k: v})
		return u
	}
	going := mine.DeepCopy()
	now := metav1.Now()
	going.SetDeletionTimestamp(&now)
	for name, tt := range map[string]struct {
		live    metav1.Object
		applied types.UID
		want    Action
		reason  string
	}{
		"prune deletes what is ours":                             {mine, "", Pruned, "no longer in the revision"},
		"prune finds an object gone":                             {nil, "", Gone, ""},
		"prune keeps objects marked disabled":                    {with(mine, KeyPrune+": Disabled"), "", Kept, KeyPrune},
		"prune keeps objects not reconciled":                     {with(mine, KeyReconcile+": disabled"), "", Kept, KeyReconcile},
		"prune keeps ignored objects":                            {with(mine, KeySSA+": Ignore"), "", Kept, KeySSA},
		"prune keeps another Kustomization's objects":            {owned(live(configMap(t, "1")), Owner{"other", "ns"}), "", Kept, "ns/other"},
		"prune keeps a namesake's objects in other namespaces":   {owned(live(configMap(t, "1")), Owner{"apps", "team"}), "", Kept, "team/apps"},
		"prune keeps objects without labels":                     {live(configMap(t, "1")), "", Kept, "no Kustomization"},
		"prune keeps what was just applied under another group":  {mine, "uid-1", Kept, "same object"},
		"prune does not delete again what is being deleted":      {going, "", Gone, "being deleted"},
		"prune deletes beside an applied object of another UID":  {mine, "uid-2", Pruned, ""},
		"prune keeps a marked object even if it is being pruned": {with(mine, KeyPrune+": disabled"), "uid-2", Kept, ""},
	} {
		t.Run(name, func(t *testing.T) {
			applied := map[types.UID]inventory.ID{tt.applied: {Kind: "Ingress", Name: "a"}}
			c := apps.DecidePrune(inventory.EntryOf(configMap(t, "1")), tt.live, applied)
			if c.Action != tt.want || !strings.Contains(c.Reason, tt.reason) {
				t.Errorf("got %s, want %s (%s)", c, tt.want, tt.reason)
			}
		})
	}
}

func TestChangedNamesFieldsAndNeverValues(t *testing.T) {
	before := object(t, `{apiVersion: v1, kind: Secret, metadata: {name: a, resourceVersion: "1", labels: {x: "1"}}, data: {pw: aHVudGVyMg==, same: YQ==}, status: {a: 1}}`)
	after := object(t, `{apiVersion: v1, kind: Secret, metadata: {name: a, resourceVersion: "2", labels: {x: "2"}, annotations: {}}, data: {pw: c3dvcmRmaXNo, same: YQ==, more: YQ==}}`)
	got := Changed(before, after)
	if want := []string{"data.more", "data.pw", "metadata.labels.x"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The messages are the API server's own, of 1.36.
func TestImmutableKnowsTheServersWords(t *testing.T) {
	for message, want := range map[string]bool{
		"field is immutable":                         true,
		"field is immutable when `immutable` is set": true,
		"spec is immutable after creation except resources.requests and volumeAttributesClassName": true,
		"may not change once set":              true,
		"cannot change roleRef":                true,
		"updates to parameters are forbidden.": true,
		"updates to statefulset spec for fields other than 'replicas', 'ordinals' are forbidden": true,
		"pod updates may not change fields other than `spec.containers[*].image`":                true,
		"Value is immutable":                 true,
		"must be no more than 63 characters": false,
		"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters": false,
		"Required value": false,
	} {
		if got := Immutable(invalid(message)); got != want {
			t.Errorf("%q: %v", message, got)
		}
	}
	if Immutable(errors.New("connection refused: immutable")) {
		t.Error("only the API server's own answers count")
	}
}
