package live

import (
	"strings"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/internal/health"
	"github.com/sluice-gitops/sluice/internal/inventory"
)

func TestHealthFollowsTheObjectsStatus(t *testing.T) {
	w := begin(t, Options{}, configMaps, deployments)
	w.apply(w.applier, owner, docs(web, configMap("a", "1")))
	id := inventory.ID{Namespace: w.ns, Name: "web", Group: "apps", Kind: "Deployment"}
	state := func() health.State {
		v, known := w.cache.Verdict(id)
		if !known {
			t.Fatal("the watch vouches for nothing")
		}
		return v.State
	}
	moved := func() {
		t.Helper()
		start := time.Now()
		select {
		case o := <-w.cache.HealthMoved():
			if o != owner {
				t.Errorf("health of %s moved", o)
			}
		case <-time.After(patience):
			t.Fatal("nobody was told")
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("it took %s", took)
		}
	}
	if got := state(); got != health.InProgress {
		t.Errorf("just applied: %s", got)
	}
	status := func(body string) {
		w.patch("Deployment", "web", "kube-controller-manager", `{"status":`+body+`}`, "status")
	}
	status(`{"observedGeneration":1,"replicas":1,"updatedReplicas":1,"readyReplicas":1,"availableReplicas":1,"conditions":[{"type":"Available","status":"True"},{"type":"Progressing","status":"True","reason":"NewReplicaSetAvailable"}]}`)
	moved()
	if got := state(); got != health.Current {
		t.Errorf("ready: %s", got)
	}
	if got, n := w.apply(w.applier, owner, docs(web, configMap("a", "1"))); n != 0 {
		t.Errorf("a status is no drift: %s by %d requests", got, n)
	}
	status(`{"conditions":[{"type":"Progressing","status":"False","reason":"ProgressDeadlineExceeded"}]}`)
	moved()
	if got := state(); got != health.Failed {
		t.Errorf("stuck: %s", got)
	}
	status(`{"observedGeneration":1,"conditions":[{"type":"Available","status":"True"},{"type":"Progressing","status":"True","reason":"NewReplicaSetAvailable"}]}`)
	moved()
	w.apply(w.applier, owner, docs(webWith("httpd"), configMap("a", "1"))) // the old verdict must not outlive the write
	if got := state(); got != health.InProgress {
		t.Errorf("applied anew: %s", got)
	}
	moved()
	w.delete("Deployment", "web")
	w.drift()
	moved()
	if got := state(); got != health.NotFound {
		t.Errorf("deleted: %s", got)
	}
	if _, known := w.cache.Verdict(inventory.ID{Namespace: w.ns, Name: "never", Group: "apps", Kind: "Deployment"}); known {
		t.Error("a verdict on an object that is not ours")
	}
	if v, known := w.cache.Verdict(inventory.ID{Namespace: w.ns, Name: "a", Kind: "ConfigMap"}); !known || v.State != health.Current {
		t.Errorf("%+v", v)
	}
}

func webWith(image string) string { return strings.Replace(web, "nginx", image, 1) }
