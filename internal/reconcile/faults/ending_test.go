package faults

import (
	"fmt"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// An object that is being deleted while Git wants it makes its Kustomization not Ready as soon as the watch shows it, and
// is made again as soon as the watch shows its end, although no retry is due for an hour. Whether it is waited for makes
// no difference.
func TestAnObjectThatHangsInItsDeletionIsToldAndMadeAgain(t *testing.T) {
	for _, waits := range []bool{false, true} {
		t.Run(fmt.Sprint("wait ", waits), func(t *testing.T) {
			t.Parallel()
			w := standing(t, newWorld(t))
			w.push(map[string]string{"c/held.yaml": configMap("held", "1"), "c/beside.yaml": configMap("beside", "1")})
			w.kustomization("c", func(s *kustomizev1.KustomizationSpec) {
				s.RetryInterval, s.Wait = &metav1.Duration{Duration: time.Hour}, waits
			})
			w.applied("c")
			before := w.uids()
			held := configMapObject(w.namespace, "held")
			w.finalizers(held, `["example.com/hold"]`)
			if err := w.client.Delete(t.Context(), held); err != nil {
				t.Fatal(err)
			}
			w.until("c", metav1.ConditionFalse, "ConfigMap/"+w.namespace+"/held", "being deleted")
			w.same(before)
			w.finalizers(held, "null")
			w.eventually(func() error {
				if id := w.uids()["held"]; id == "" || id == before["held"] {
					return fmt.Errorf("held has not been made again: %q", id)
				}
				return nil
			})
			w.applied("a", "b", "c")
			w.same(without(before, "held"))
			w.quiet("a", "b", "c")
		})
	}
}

// finalizers sets metadata.finalizers; list is JSON.
func (w *world) finalizers(o client.Object, list string) {
	w.t.Helper()
	w.patch(o, fmt.Sprintf(`{"metadata":{"finalizers":%s}}`, list))
}
