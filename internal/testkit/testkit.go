// Package testkit gives tests what they share: a real API server, unique namespaces, definitions, golden files, and
// waiting for conditions instead of sleeping.
//
// It refuses to fake Kubernetes: the server is kube-apiserver over etcd, both out of bin/sluice-cluster. It starts no
// controllers, so nothing but the code under test acts: namespaces stay Terminating, Deployments get no pods, and the
// garbage collector deletes nothing. Only tests import it.
//
// A package that calls Cluster has one server for all its tests, ended by its TestMain:
//
//	func TestMain(m *testing.M) { testkit.Main(m) }
package testkit

import (
	"testing"
	"time"
)

// Eventually calls check until it returns nil, and fails the test with the last error once timeout is over. check is
// called at least once, and not again before it has returned.
func Eventually(t testing.TB, timeout time.Duration, check func() error) {
	t.Helper()
	end := time.Now().Add(timeout)
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().Add(pause).After(end) {
			t.Fatalf("still not so after %v: %v", timeout, err)
		}
		time.Sleep(pause)
	}
}
