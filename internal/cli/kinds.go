package cli

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// kind is what get and reconcile know about one kind of object.
type kind struct {
	name     string // as the API writes it
	version  string // group/version
	empty    func() client.Object
	list     func() client.ObjectList
	revision func(client.Object) string // full, as in status
	spec     func(client.Object) (suspended bool, conditions []metav1.Condition, handled string)
}

var kustomizations = kind{
	name: kustomizev1.KustomizationKind, version: kustomizev1.GroupVersion.String(),
	empty:    func() client.Object { return &kustomizev1.Kustomization{} },
	list:     func() client.ObjectList { return &kustomizev1.KustomizationList{} },
	revision: func(o client.Object) string { return o.(*kustomizev1.Kustomization).Status.LastAppliedRevision },
	spec: func(o client.Object) (bool, []metav1.Condition, string) {
		k := o.(*kustomizev1.Kustomization)
		return k.Spec.Suspend, k.Status.Conditions, k.Status.LastHandledReconcileAt
	},
}

var gitRepositories = kind{
	name: sourcev1.GitRepositoryKind, version: sourcev1.GroupVersion.String(),
	empty: func() client.Object { return &sourcev1.GitRepository{} },
	list:  func() client.ObjectList { return &sourcev1.GitRepositoryList{} },
	revision: func(o client.Object) string {
		if a := o.(*sourcev1.GitRepository).Status.Artifact; a != nil {
			return a.Revision
		}
		return ""
	},
	spec: func(o client.Object) (bool, []metav1.Condition, string) {
		g := o.(*sourcev1.GitRepository)
		return g.Spec.Suspend, g.Status.Conditions, g.Status.LastHandledReconcileAt
	},
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
func (k kind) fetch(ctx context.Context, c client.Reader, namespace, name string) ([]client.Object, error) {
	l := k.list()
	if err := c.List(ctx, l, client.InNamespace(namespace)); err != nil {
		return nil, explainKube(err)
	}
	raw, err := apimeta.ExtractList(l)
	if err != nil {
		return nil, err
	}
	var out []client.Object
	for _, r := range raw {
		o := r.(client.Object)
		if name == "" || o.GetName() == name {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b client.Object) int {
		return cmp.Or(strings.Compare(a.GetNamespace(), b.GetNamespace()), strings.Compare(a.GetName(), b.GetName()))
	})
	return out, nil
}

// table gives Flux's columns for objects of this kind.
func (k kind) table(objects []client.Object, withNamespace, withKind bool) table {
	t := table{headers: []string{"Name", "Revision", "Suspended", "Ready", "Message"}}
	if withNamespace {
		t.headers = append([]string{"Namespace"}, t.headers...)
	}
	for _, o := range objects {
		suspended, _, _ := k.spec(o)
		status, message := k.readyAndMessage(o)
		name := o.GetName()
		if withKind {
			name = strings.ToLower(k.name) + "/" + name
		}
		row := []string{name, shortHashes(k.revision(o)), title(suspended), status, shortHashes(oneLine(message))}
		if withNamespace {
			row = append([]string{o.GetNamespace()}, row...)
		}
		t.rows = append(t.rows, row)
	}
	return t
}

func title(b bool) string {
	if b {
		return "True"
	}
	return "False"
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

var commitHash = regexp.MustCompile(`\b([0-9a-f]{8})(?:[0-9a-f]{32}|[0-9a-f]{56})\b`)

// shortHashes cuts every commit hash or digest in a text to eight characters, as Flux's tables do.
func shortHashes(s string) string { return commitHash.ReplaceAllString(s, "$1") }
