package reconcile

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
)

// LeaderElection says how replicas take turns. A zero duration is controller-runtime's default.
type LeaderElection struct {
	LeaseDuration, RenewDeadline, RetryPeriod time.Duration
	KeepOnCancel                              bool // let the lease run out at the end, instead of handing it on
}

func (l LeaderElection) apply(o *ctrl.Options) {
	set := func(to **time.Duration, d time.Duration) {
		if d > 0 {
			*to = &d
		}
	}
	set(&o.LeaseDuration, l.LeaseDuration)
	set(&o.RenewDeadline, l.RenewDeadline)
	set(&o.RetryPeriod, l.RetryPeriod)
	o.LeaderElectionReleaseOnCancel = !l.KeepOnCancel
}

// leaseName is the name of the lease under Flux's rule: shards, which select different objects, have a lease each.
func leaseName(selector string) string {
	const base = "kustomize-controller-leader-election"
	if selector == "" {
		return base
	}
	sum := sha256.Sum256([]byte(selector))
	return base + "-" + hex.EncodeToString(sum[:])[:8]
}
