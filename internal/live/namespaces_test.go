package live

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-gitops/sluice/internal/inventory"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

// A namespace may be called absent only while a watch would show it: what is not there is applied without asking.
func TestANamespaceIsAbsentOnlyWhileAWatchWouldShowIt(t *testing.T) {
	w := begin(t, Options{})
	name := w.ns + "-later"
	absent := func() bool { return w.cache.Absent(inventory.ID{Kind: "Namespace", Name: name}) }
	becomes := func(want bool) {
		t.Helper()
		testkit.Eventually(t, patience, func() error {
			if got := absent(); got != want {
				return fmt.Errorf("absent = %v", got)
			}
			return nil
		})
	}
	if absent() {
		t.Error("absent before anything was read")
	}
	becomes(true)
	if w.cache.Absent(inventory.ID{Kind: "Namespace", Name: w.ns}) || w.cache.Absent(inventory.ID{Kind: "ConfigMap", Namespace: w.ns, Name: "none"}) {
		t.Error("what exists is absent, or what is not watched is")
	}
	namespaces := w.objects.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"})
	_, err := namespaces.Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name},
	}}, metav1.CreateOptions{})
	must(t, err)
	t.Cleanup(func() { _ = namespaces.Delete(context.Background(), name, metav1.DeleteOptions{}) })
	becomes(false)
}

func TestNoNamespaceIsAbsentWhileTheirWatchIsInterrupted(t *testing.T) {
	w := begin(t, Options{})
	nobody := inventory.ID{Kind: "Namespace", Name: w.ns + "-nobody"}
	absent := func() bool { return w.cache.Absent(nobody) }
	cut := make(chan struct{})
	w.wear(func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		select {
		case <-cut:
			return nil, errors.New("no connection")
		default:
		}
		if strings.HasSuffix(r.URL.Path, "/namespaces") && r.URL.Query().Get("watch") != "" {
			ctx, cancel := context.WithCancel(r.Context())
			go func() { <-cut; cancel() }()
			r = r.WithContext(ctx)
		}
		return next.RoundTrip(r)
	})
	testkit.Eventually(t, patience, func() error {
		if !absent() {
			return errors.New("not known yet")
		}
		return nil
	})
	close(cut)
	testkit.Eventually(t, patience, func() error {
		if absent() {
			return errors.New("called absent without a watch")
		}
		return nil
	})
	w.wear(nil)
	testkit.Eventually(t, patience, func() error {
		if !absent() {
			return errors.New("not known again")
		}
		return nil
	})
}
