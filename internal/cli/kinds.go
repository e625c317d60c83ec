package cli

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

// kind is what get and reconcile know about one kind of object.
type kind struct {
	name     string // as the API writes it
	version  string // group/version
	empty    func() client.Object
	list     func() client.ObjectList
	revision func(client.Object) string // full, as in status
	spec     func(client.Object) (suspended bool, conditions []metav1.Condition, handled string)
	done     string                     // before the revision, when it was reconciled
	source   func(client.Object) string // Kind/name, or Kind/namespace/name; nil: it has none
}

var kustomizations = kind{
	name: kustomizev1.KustomizationKind, version: kustomizev1.GroupVersion.String(), done: "applied revision ",
	empty:    func() client.Object { return &kustomizev1.Kustomization{} },
	list:     func() client.ObjectList { return &kustomizev1.KustomizationList{} },
	revision: func(o client.Object) string { return o.(*kustomizev1.Kustomization).Status.LastAppliedRevision },
	spec: func(o client.Object) (bool, []metav1.Condition, string) {
		k := o.(*kustomizev1.Kustomization)
		return k.Spec.Suspend, k.Status.Conditions, k.Status.LastHandledReconcileAt
	},
	source: func(o client.Object) string {
		ref := o.(*kustomizev1.Kustomization).Spec.SourceRef
		return ref.String()
	},
}

var gitRepositories = kind{
	name: sourcev1.GitRepositoryKind, version: sourcev1.GroupVersion.String(), done: "fetched revision ",
	empty:    func() client.Object { return &sourcev1.GitRepository{} },
	list:     func() client.ObjectList { return &sourcev1.GitRepositoryList{} },
	revision: func(o client.Object) string { return artifactRevision(o.(*sourcev1.GitRepository).Status.Artifact) },
	spec: func(o client.Object) (bool, []metav1.Condition, string) {
		g := o.(*sourcev1.GitRepository)
		return g.Spec.Suspend, g.Status.Conditions, g.Status.LastHandledReconcileAt
	},
}

// OCIRepositories and Buckets are shown, not served: another controller makes their artifacts.
var ociRepositories = kind{
	name: sourcev1.OCIRepositoryKind, version: sourcev1.GroupVersion.String(),
	empty:    func() client.Object { return &sourcev1.OCIRepository{} },
	list:     func() client.ObjectList { return &sourcev1.OCIRepositoryList{} },
	revision: func(o client.Object) string { return artifactRevision(o.(*sourcev1.OCIRepository).Status.Artifact) },
	spec: func(o client.Object) (bool, []metav1.Condition, string) {
		r := o.(*sourcev1.OCIRepository)
		return r.Spec.Suspend, r.Status.Conditions, r.Status.LastHandledReconcileAt
	},
}

var buckets = kind{
	name: sourcev1.BucketKind, version: sourcev1.GroupVersion.String(),
	empty:    func() client.Object { return &sourcev1.Bucket{} },
	list:     func() client.ObjectList { return &sourcev1.BucketList{} },
	revision: func(o client.Object) string { return artifactRevision(o.(*sourcev1.Bucket).Status.Artifact) },
	spec: func(o client.Object) (bool, []metav1.Condition, string) {
		b := o.(*sourcev1.Bucket)
		return b.Spec.Suspend, b.Status.Conditions, b.Status.LastHandledReconcileAt
	},
}

func artifactRevision(a *meta.Artifact) string {
	if a == nil {
		return ""
	}
	return a.Revision
}

// argument is how commands name the kind.
func (k kind) argument() string {
	if k.name == sourcev1.GitRepositoryKind {
		return "source git"
	}
	return strings.ToLower(k.name)
}

// readyAndMessage gives the Ready condition's status and message, as Flux shows them, for objects nobody has looked at
// yet too.
func (k kind) readyAndMessage(o client.Object) (status, message string) {
	_, conditions, _ := k.spec(o)
	if c := apimeta.FindStatusCondition(conditions, meta.ReadyCondition); c != nil {
		return string(c.Status), c.Message
	}
	return string(metav1.ConditionFalse), "waiting to be reconciled"
}

// fetch lists the objects, by namespace and name; namespace "" means all, name "" any.
func (k kind) fetch(ctx context.Context, c client.Reader, namespace, name string, opts ...client.ListOption) ([]client.Object, error) {
	l := k.list()
	if err := c.List(ctx, l, append(opts, client.InNamespace(namespace))...); err != nil {
		return nil, explainKube(err)
	}
	objects, err := itemsOf(l)
	return slices.DeleteFunc(objects, func(o client.Object) bool { return name != "" && o.GetName() != name }), err
}

// itemsOf are a list's objects, sorted by namespace and name.
func itemsOf(list client.ObjectList) ([]client.Object, error) {
	raw, err := apimeta.ExtractList(list)
	if err != nil {
		return nil, err
	}
	out := make([]client.Object, len(raw))
	for i, r := range raw {
		out[i] = r.(client.Object)
	}
	slices.SortFunc(out, func(a, b client.Object) int {
		return cmp.Or(strings.Compare(a.GetNamespace(), b.GetNamespace()), strings.Compare(a.GetName(), b.GetName()))
	})
	return out, nil
}

// columns says which columns a table has besides Flux's five.
type columns struct{ namespace, kind, source, wide bool }

// messageAt is where the message stands in a row.
func messageAt(with columns) int {
	if with.namespace {
		return 5
	}
	return 4
}

// headers are Flux's columns for objects of this kind.
func (k kind) headers(with columns) []string {
	headers := []string{"Name", "Revision", "Suspended", "Ready", "Message"}
	if with.namespace {
		headers = append([]string{"Namespace"}, headers...)
	}
	if k.source != nil && (with.source || with.wide) {
		headers = append(headers, "Source")
	}
	if with.wide {
		headers = append(headers, "Age")
	}
	return headers
}

// row is one object under headers.
func (k kind) row(o client.Object, with columns) []string {
	suspended, _, _ := k.spec(o)
	status, message := k.readyAndMessage(o)
	name := o.GetName()
	if with.kind {
		name = strings.ToLower(k.name) + "/" + name
	}
	row := []string{name, shortHashes(k.revision(o)), title(suspended), status, shortHashes(oneLine(message))}
	if with.namespace {
		row = append([]string{o.GetNamespace()}, row...)
	}
	if k.source != nil && (with.source || with.wide) {
		row = append(row, k.source(o))
	}
	if with.wide {
		row = append(row, ageOf(o.GetCreationTimestamp()))
	}
	return row
}

// table gives Flux's columns for objects of this kind.
func (k kind) table(objects []client.Object, with columns) table {
	t := table{headers: k.headers(with)}
	for _, o := range objects {
		t.rows = append(t.rows, k.row(o, with))
	}
	return t
}

func ageOf(at metav1.Time) string {
	if at.IsZero() {
		return ""
	}
	return duration.HumanDuration(time.Since(at.Time))
}

func title(b bool) string {
	if b {
		return "True"
	}
	return "False"
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

var commitHash = lazyregexp.New(`\b([0-9a-f]{8})(?:[0-9a-f]{32}|[0-9a-f]{56})\b`)

// shortHashes cuts every commit hash or digest in a text to eight characters, as Flux's tables do.
func shortHashes(s string) string { return commitHash.ReplaceAllString(s, "$1") }
