package reconcile

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// condition returns a condition of k, the zero one if it has none of the kind.
func condition(k *Kustomization, kind string) metav1.Condition {
	if c := apimeta.FindStatusCondition(k.Status.Conditions, kind); c != nil {
		return *c
	}
	return metav1.Condition{}
}

// annotate sets the annotation "done" of a ConfigMap, as another controller would.
func (w *world) annotate(name, value string) {
	w.t.Helper()
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"metadata":{"annotations":{"done":%q}}}`, value))
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
	if err := w.client.Patch(w.t.Context(), cm, patch); err != nil {
		w.t.Fatal(err)
	}
}
