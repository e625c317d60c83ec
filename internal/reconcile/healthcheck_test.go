package reconcile

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/inventory"
	"github.com/sluice-gitops/sluice/internal/live"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

// panickingReader panics with what it read, as a library that chokes on an object does.
type panickingReader struct{ client.Reader }

func (panickingReader) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	panic(&corev1.Secret{StringData: map[string]string{"password": string(ageCanary)}})
}

// The looks are taken in goroutines, where nobody else could catch a panic: the process would end and print the object.
func TestAPanicWhileLookingForHealthFailsThatLookAndPrintsNothing(t *testing.T) {
	cache, err := live.New(&rest.Config{Host: "http://127.0.0.1:1"}, nil, live.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := &waiting{reader: panickingReader{}, rules: &rules{}}
	for _, name := range []string{"a", "b", "c"} {
		w.objects = append(w.objects, inventory.Entry{ID: inventory.ID{Namespace: "x", Name: name, Kind: "Secret"}, Version: "v1"})
	}
	_, _, err = (&Kustomizations{live: cache}).look(t.Context(), w, true)
	f := fault.From(err)
	if f == nil || f.Code != "SLU-BUG-004" || f.Hop != fault.HopHealth || !strings.Contains(f.Seen, "healthcheck_test.go:") {
		t.Fatalf("got %v", err)
	}
	if form := testkit.Canary(ageCanary).In([]byte(f.Multiline())); form != "" {
		t.Errorf("the fault holds what was panicked with, %s", form)
	}
}
