package reconcile

import (
	"context"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// tokenLifetime is what is asked for; the API server may give less. Nothing holds a token of a tenant longer than this.
const tokenLifetime = 10 * time.Minute

// requestToken asks the API server for a token of a ServiceAccount, for the given audiences. It is the only way in which
// the controller acts as a tenant outside of the cluster, and is never written anywhere.
func requestToken(ctx context.Context, c client.Client, account types.NamespacedName, audiences []string) (string, time.Time, error) {
	seconds := int64(tokenLifetime / time.Second)
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: account.Namespace, Name: account.Name}}
	req := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences, ExpirationSeconds: &seconds}}
	if err := c.SubResource("token").Create(ctx, sa, req); err != nil {
		return "", time.Time{}, err
	}
	return req.Status.Token, req.Status.ExpirationTimestamp.Time, nil
}

// accountToken is a ServiceAccount's token that is renewed after four fifths of its life.
type accountToken struct {
	client    client.Client
	account   types.NamespacedName
	audiences []string

	mu    sync.Mutex
	token string
	renew time.Time
}

func (t *accountToken) get(ctx context.Context) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token != "" && time.Now().Before(t.renew) {
		return t.token, nil
	}
	token, expiry, err := requestToken(ctx, t.client, t.account, t.audiences)
	if err != nil {
		return "", err
	}
	t.token, t.renew = token, time.Now().Add(time.Until(expiry)*4/5)
	return token, nil
}
