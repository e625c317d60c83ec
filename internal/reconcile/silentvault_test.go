package reconcile

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/keyring"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// A key service that takes the request and says nothing is given the keyring's limit, and not a moment more than the
// attempt has, which is the Kustomization's timeout; who waits for the same key with more time still gets it.
func TestAKeyServiceThatNeverAnswersEndsAtTheLimitOrTheKustomizationsTimeout(t *testing.T) {
	over := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-over:
		}
	}))
	t.Cleanup(silent.Close)
	t.Cleanup(func() { close(over) })
	id, err := keyring.FromSecret("ns/vault", map[string][]byte{"sops.vault-token": []byte("token"), "sops.vault-address": []byte(silent.URL)})
	if err != nil {
		t.Fatal(err)
	}
	key := &recipient.HCVault{VaultAddress: silent.URL, EnginePath: "transit", KeyName: "k"}
	key.SetWrapped([]byte("vault:v1:AAAA"))
	doc := &sops.Metadata{KeyGroups: []recipient.Group{{key}}}
	for name, tt := range map[string]struct{ limit, timeout time.Duration }{"limit": {300 * time.Millisecond, time.Hour}, "timeout": {time.Hour, 300 * time.Millisecond}} {
		d := &decrypter{identity: id, ring: keyring.New(keyring.Options{Timeout: tt.limit})}
		ctx, cancel := context.WithTimeout(t.Context(), tt.timeout)
		start := time.Now()
		_, err := d.DataKey(ctx, doc)
		cancel()
		if took := time.Since(start); took > 30*time.Second {
			t.Errorf("%s: it took %s", name, took)
		}
		f := fault.From(err)
		if name == "limit" && (f == nil || f.Code != "SLU-KEYRING-014" || !strings.Contains(f.Error(), "no answer within 300ms")) || name == "timeout" && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
