package reconcile

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/fluxcd/pkg/apis/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// digestKey keys the digests that appear in status.history. Flux publishes a plain SHA-256 of everything that it built,
// Secrets included; whoever can read the status can then try passwords against it. The key is drawn when the process
// starts and kept nowhere, so the digests tell sameness and nothing else. snapshotDigest carries them over a restart.
var digestKey = func() []byte {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails: crypto/rand ends the program instead
	return key
}()

// digestOf is the keyed digest of a rendered set, in the form of Flux's "sha256:<hex>".
func digestOf(objects []*unstructured.Unstructured) (string, error) {
	mac := hmac.New(sha256.New, digestKey)
	for _, o := range objects {
		b, err := o.MarshalJSON() // keys in order, one line an object
		if err != nil {
			return "", err
		}
		mac.Write(b)
	}
	return "sha256:" + hex.EncodeToString(mac.Sum(nil)), nil
}

// snapshotDigest is the digest under which the history knows the set: the one computed in this process, or, for the first
// attempt of a process whose apply wrote nothing, the one that the last process left. What the cluster already is was
// what that entry recorded.
func (m *memory) snapshotDigest(computed, summary string, history meta.History) string {
	if m.digests == nil {
		m.digests = map[string]string{}
	}
	if known := m.digests[computed]; known != "" {
		return known
	}
	known := computed
	if last := history.Latest(); len(m.digests) == 0 && summary == "" && last != nil &&
		last.LastReconciledStatus == meta.ReconciliationSucceededReason {
		known = last.Digest
	}
	if len(m.digests) >= 2*meta.HistoryMaxSize { // more than the history can still hold
		clear(m.digests)
	}
	m.digests[computed] = known
	return known
}

// record puts the attempt's outcome into status.history, where Flux would: once something was built.
func (a *attempt) record(status, summary string) {
	if a.digest == "" {
		return
	}
	about := map[string]string{"revision": a.rev.Name}
	if a.origin != "" {
		about["originRevision"] = a.origin
	}
	st, digest := &a.obj.Status, a.digest
	if status == meta.ReconciliationSucceededReason {
		digest = a.mem.snapshotDigest(a.digest, summary, st.History)
	} else if known := a.mem.digests[a.digest]; known != "" {
		digest = known
	}
	now := time.Now().Truncate(time.Second) // as the API keeps it
	st.History.Upsert(digest, now, time.Since(a.started).Round(time.Millisecond), status, about)
}
