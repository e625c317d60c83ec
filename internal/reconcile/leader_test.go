package reconcile

import (
	"testing"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
)

func TestShardsHaveALeaseEachUnderFluxsName(t *testing.T) {
	// The second name is what Flux's leaderelection.GenerateID gives for the selector.
	for selector, want := range map[string]string{
		"":                              "kustomize-controller-leader-election",
		"sharding.fluxcd.io/key=shard1": "kustomize-controller-leader-election-73fdc1be",
	} {
		if got := leaseName(selector); got != want {
			t.Errorf("leaseName(%q) = %s, want %s", selector, got, want)
		}
	}
}

func TestLeaderElectionFollowsItsFlags(t *testing.T) {
	var o ctrl.Options
	LeaderElection{LeaseDuration: 3 * time.Second, KeepOnCancel: true}.apply(&o)
	if o.LeaseDuration == nil || *o.LeaseDuration != 3*time.Second || o.RetryPeriod != nil || o.LeaderElectionReleaseOnCancel {
		t.Errorf("options = %+v", o)
	}
}
