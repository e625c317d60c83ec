package faults

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/inventory"
)

// check checks what must hold at any moment, and with settled what must hold at rest:
//
//	I1  every live object that bears a Kustomization's labels is in that one's inventory; at rest, also the reverse
//	I2  nothing is deleted that is not ours: the bystanders keep their UIDs
//	I3  a Kustomization that is Ready at a revision has all of it applied
//	I5  the secret is in no log, status or event
//
// I4 (it converges) is what settled waits for, I6 (no writes at rest) is quiet's, I7 and I8 have tests of their own.
// It may be called from any goroutine.
func (s *story) check(when string, settled bool) {
	s.t.Helper()
	expected, at := s.expected()
	live, err := s.live()
	if err != nil {
		s.t.Errorf("%s: %v", when, err)
		return
	}
	for owner, objects := range live {
		if _, err := s.get(owner); apierrors.IsNotFound(err) {
			s.t.Errorf("%s: I1: %d objects of the deleted %s are left", when, len(objects), owner)
		}
	}
	for _, name := range []string{"infra", "apps", "extra"} {
		k, err := s.get(name)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			s.t.Errorf("%s: %v", when, err)
			continue
		}
		owned, err := inventory.FromStatus(k.Status.Inventory)
		if err != nil {
			s.t.Errorf("%s: %v", when, err)
		}
		for object, u := range live[name] {
			if !owned.Has(inventory.IDOf(u)) && s.stillOwned(name, object, u) {
				s.t.Errorf("%s: I1: %s of %s is in the cluster and not in its inventory", when, object, name)
			}
		}
		ready := apimeta.IsStatusConditionTrue(k.Status.Conditions, meta.ReadyCondition) && k.Status.ObservedGeneration == k.Generation
		if want, ok := expected[name]; ok && ready && k.Status.LastAppliedRevision == at {
			for object, value := range want {
				if u := live[name][object]; u == nil || valueOf(u) != value {
					s.stillMissing(when, name, object, value)
				}
			}
			if settled && (owned.Len() != len(want) || len(live[name]) != len(want)) {
				s.t.Errorf("%s: %s owns %v, the cluster has %d objects of it, want %d", when, name, owned.Entries(), len(live[name]), len(want))
			}
		}
		s.keepsSecret(when, "the status of "+name, k.Status)
	}
	var others corev1.ConfigMapList
	if err := s.client.List(s.t.Context(), &others, client.InNamespace(s.namespace+"-other")); err != nil {
		s.t.Errorf("%s: %v", when, err)
	}
	if len(others.Items) != len(s.bystander) {
		s.t.Errorf("%s: I2: of %d bystanders %d are left", when, len(s.bystander), len(others.Items))
	}
	for _, o := range others.Items {
		if o.UID != s.bystander[o.Name] || o.Data["key"] != "mine" || o.DeletionTimestamp != nil {
			s.t.Errorf("%s: I2: bystander %s was touched", when, o.Name)
		}
	}
	var events corev1.EventList
	if err := s.client.List(s.t.Context(), &events, client.InNamespace(s.namespace)); err != nil {
		s.t.Errorf("%s: %v", when, err)
	}
	s.keepsSecret(when, "an event", events.Items)
	s.keepsSecret(when, "the log", s.log.String())
}

// stillOwned says whether an object that was seen before an inventory is there after it too. If it is not, the inventory
// was right to drop it.
func (s *story) stillOwned(owner, object string, seen *unstructured.Unstructured) bool {
	live, err := s.live()
	if err != nil {
		s.t.Error(err)
		return false
	}
	u := live[owner][object]
	return u != nil && u.GetUID() == seen.GetUID()
}

// stillMissing tells of an object that is not as the revision says, unless the status was only read later than it.
func (s *story) stillMissing(when, name, object, value string) {
	live, err := s.live()
	if err != nil {
		s.t.Errorf("%s: %v", when, err)
		return
	}
	if u := live[name][object]; u == nil || valueOf(u) != value {
		s.t.Errorf("%s: I3: %s is Ready, and %s is not as its revision says", when, name, object)
	}
}

func (s *story) keepsSecret(when, where string, v any) {
	text, ok := v.(string)
	if !ok {
		data, err := json.Marshal(v)
		if err != nil {
			s.t.Error(err)
		}
		text = string(data)
	}
	for _, form := range []string{canary, base64.StdEncoding.EncodeToString([]byte(canary + "1")), base64.StdEncoding.EncodeToString([]byte(canary + "2"))} {
		if strings.Contains(text, form) {
			s.t.Errorf("%s: I5: %s holds the secret", when, where)
		}
	}
}

// quiet asks for a reconcile of everything at rest and checks that it writes nothing but that it was done (I6).
func (w *world) quiet(names ...string) {
	w.t.Helper()
	w.api.since(func(call) bool { return false })
	for _, name := range names {
		k, err := w.get(name)
		if err != nil {
			w.t.Fatal(err)
		}
		at := w.poke(k)
		w.eventually(func() error {
			k, err := w.get(name)
			if err == nil && k.Status.LastHandledReconcileAt != at {
				err = fmt.Errorf("%s: last handled %s, want %s", name, k.Status.LastHandledReconcileAt, at)
			}
			if err == nil {
				err = holds(k.Status.Conditions, metav1.ConditionTrue, nil)
			}
			return err
		})
	}
	for _, c := range w.api.since(call.writes) {
		if !strings.HasSuffix(c.path, "/status") {
			w.t.Errorf("I6: a write at rest: %s", c)
		}
	}
}
