package node

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/sluice-gitops/sluice/internal/local/state"
)

// TokenExchangeAudience is what Entra ID expects in a federated assertion.
const TokenExchangeAudience = "api://AzureADTokenExchange"

// token is a projected service-account token: a file that always holds a valid one.
type token struct {
	path       string
	audience   string // empty: the API server's own
	expiration int64  // seconds

	mu      sync.Mutex
	renewAt time.Time // zero: never written
}

// write asks the API server for a token and replaces the file atomically. The next one is due at 80 % of the life that
// the server granted, as with the kubelet.
func (t *token) write(ctx context.Context, c typedcorev1.ServiceAccountsGetter, now time.Time) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	req := &authv1.TokenRequest{Spec: authv1.TokenRequestSpec{ExpirationSeconds: &t.expiration}}
	if t.audience != "" {
		req.Spec.Audiences = []string{t.audience}
	}
	got, err := c.ServiceAccounts(Namespace).CreateToken(ctx, Name, req, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("token for %s: %w", t.path, err)
	}
	if err := state.WriteFile(t.path, []byte(got.Status.Token), 0o600); err != nil {
		return err
	}
	life := got.Status.ExpirationTimestamp.Sub(now)
	t.renewAt = now.Add(life * 8 / 10)
	return nil
}

func (t *token) due(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.renewAt.IsZero() && !now.Before(t.renewAt)
}

// renew keeps tokens valid until ctx ends.
func renew(ctx context.Context, c typedcorev1.ServiceAccountsGetter, log *slog.Logger, tokens []*token) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for _, t := range tokens {
				if !t.due(now) {
					continue
				}
				if err := t.write(ctx, c, now); err != nil && ctx.Err() == nil {
					log.Warn("service-account token not renewed", "error", err)
				}
			}
		}
	}
}
