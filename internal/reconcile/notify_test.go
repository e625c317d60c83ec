package reconcile

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/sluice-gitops/sluice/internal/testkit"
)

func TestEventsArePostedInFluxsShape(t *testing.T) {
	var mu sync.Mutex
	var got []notification
	failures := 1 // the first post is answered by 503 and tried again
	receiver := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if failures > 0 {
			failures--
			rw.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		var n notification
		if err := json.NewDecoder(req.Body).Decode(&n); err != nil {
			t.Error(err)
		}
		got = append(got, n)
		rw.WriteHeader(http.StatusAccepted)
	}))
	defer receiver.Close()
	w := newWorld(t)
	w.stop()
	w.options.EventsAddr = receiver.URL
	w.start()
	find := func(severity, reason, text string) (n notification) {
		t.Helper()
		testkit.Eventually(t, 20*time.Second, func() error {
			mu.Lock()
			defer mu.Unlock()
			for _, n = range got {
				if n.Severity == severity && n.Reason == reason && strings.Contains(n.Message, text) {
					return nil
				}
			}
			return fmt.Errorf("no %s %s with %q among %+v", severity, reason, text, got)
		})
		return n
	}
	const group = "kustomize.toolkit.fluxcd.io/"
	rev := w.push(map[string]string{"a/one.yaml": configMap("one", "1")})
	k := w.kustomization("a", nil)
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"event.toolkit.fluxcd.io/team":"blue","other":"x"}}}`))
	if err := w.client.Patch(t.Context(), k.DeepCopy(), patch); err != nil {
		t.Fatal(err)
	}
	w.source()
	w.until(k, "True", "Applied")

	n := find("info", "Progressing", "ConfigMap/"+w.namespace+"/one created")
	if o := n.InvolvedObject; o.Kind != "Kustomization" || o.APIVersion != "kustomize.toolkit.fluxcd.io/v1" || o.Name != "a" || o.Namespace != w.namespace {
		t.Errorf("involvedObject = %+v", o)
	}
	if n.Metadata[group+"revision"] != rev || n.Metadata["event.toolkit.fluxcd.io/team"] != "blue" || n.Metadata["other"] != "" ||
		n.ReportingController != "kustomize-controller" || n.ReportingInstance == "" || n.Timestamp.IsZero() {
		t.Errorf("notification = %+v", n)
	}
	n = find("info", "ReconciliationSucceeded", "Reconciliation finished in ")
	if n.Metadata[group+"commit_status"] != "update" || n.Metadata[group+"revision"] != rev {
		t.Errorf("metadata = %v", n.Metadata)
	}
	w.push(map[string]string{"a/one.yaml": "apiVersion: v1\nkind: [ConfigMap\n"})
	find("error", "BuildFailed", "render")
	find("info", "NewArtifact", "stored artifact")
}

func TestASlowReceiverHoldsUpNobody(t *testing.T) {
	w := newWorld(t)
	w.stop()
	n := newNotifier("http://127.0.0.1:1/", w.options.Log)
	for range notifyQueue + 10 { // Start is never called
		n.add(notification{Message: strings.Repeat("é", maxNotifyText)})
	}
	if m := (<-n.queue).Message; len(n.queue) != notifyQueue-1 || len(m) > maxNotifyText {
		t.Errorf("%d events wait, of %d bytes", len(n.queue), len(m))
	}
	if !strings.Contains(w.log.String(), "notification dropped") {
		t.Error("nobody is told of what was dropped")
	}
}

func TestReconcilesAreMeasuredUnderFluxsName(t *testing.T) {
	key := client.ObjectKey{Namespace: "ns", Name: "measured"}
	measure(kustomizev1.KustomizationKind, key, time.Now())
	series := func() (n int) {
		families, err := metrics.Registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() != "gotk_reconcile_duration_seconds" {
				continue
			}
			for _, m := range f.GetMetric() {
				labels := ""
				for _, l := range m.GetLabel() {
					labels += l.GetName() + "=" + l.GetValue() + " "
				}
				if labels == "kind=Kustomization name=measured namespace=ns " {
					n++
				}
			}
		}
		return n
	}
	if series() != 1 {
		t.Error("the reconcile is not measured")
	}
	unmeasure(kustomizev1.KustomizationKind, key)
	if series() != 0 {
		t.Error("a deleted object keeps its series")
	}
}

func TestJitterStaysWithinItsShare(t *testing.T) {
	for range 1000 {
		if d := jittered(time.Minute, 5); d < 57*time.Second || d > 63*time.Second {
			t.Fatalf("one minute became %s", d)
		}
	}
	if jittered(time.Minute, 0) != time.Minute {
		t.Error("no jitter changes the interval")
	}
}
