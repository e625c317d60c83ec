package reconcile

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// reading counts the reads of a client, which fail as long as err is set.
type reading struct {
	client.Reader
	n   int
	err error
}

func (r *reading) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	if r.n++; r.err != nil {
		return r.err
	}
	return r.Reader.Get(ctx, key, o, opts...)
}

func TestABurstSharesOneReadOfItsSecret(t *testing.T) {
	w := newWorld(t)
	name := types.NamespacedName{Namespace: w.namespace, Name: "keys"}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "keys"}, Data: map[string][]byte{"a.agekey": []byte("1")}}
	w.create(secret)
	r := &reading{Reader: w.client}
	k := newKeys(r)
	read := func(fresh bool, want int) string {
		t.Helper()
		_, print, err := k.read(t.Context(), name, fresh)
		if err != nil || r.n != want {
			t.Errorf("%d reads, want %d; %v", r.n, want, err)
		}
		return print
	}
	before := read(false, 1)
	read(false, 1)
	read(true, 2)

	// What was read without being asked for is no answer to somebody who may have changed the Secret since.
	if err := w.client.Delete(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	if k.unchanged(t.Context(), name, before) {
		t.Error("a Secret that is gone is unchanged")
	}
	if _, _, err := k.read(t.Context(), name, true); err == nil {
		t.Error("a Secret that is gone was read afresh")
	}
}

func TestAReadThatFailedIsNotShared(t *testing.T) {
	r := &reading{err: errors.New("no connection")}
	k := newKeys(r)
	for want := 1; want <= 2; want++ {
		if _, _, err := k.read(t.Context(), types.NamespacedName{Namespace: "x", Name: "keys"}, false); err == nil || r.n != want {
			t.Errorf("%d reads, %v", r.n, err)
		}
	}
}
