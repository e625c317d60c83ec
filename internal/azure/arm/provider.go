package arm

import (
	"context"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
)

// Registered is the state of a resource provider that can be used.
const Registered = "Registered"

// Provider returns the registration state of a resource provider's namespace: Registered, Registering, NotRegistered.
func (c *Client) Provider(ctx context.Context, namespace string) (string, error) {
	got, err := c.providers.Get(ctx, namespace, nil)
	if err != nil {
		return "", explain(err, "resource provider "+namespace)
	}
	return deref(got.RegistrationState), nil
}

// EnsureProvider registers a resource provider for the subscription and waits until it can be used.
func (c *Client) EnsureProvider(ctx context.Context, namespace string) (changed bool, err error) {
	object := "resource provider " + namespace
	for pause := firstPause; ; pause = min(2*pause, longPause) {
		got, err := c.providers.Get(ctx, namespace, nil)
		if err != nil {
			return changed, explain(err, object)
		}
		switch state := deref(got.RegistrationState); {
		case state == Registered:
			return changed, nil
		case !changed && state != "Registering":
			if _, err := c.providers.Register(ctx, namespace, &armresources.ProvidersClientRegisterOptions{}); err != nil {
				return false, instead(explain(err, object), "az provider register -n "+namespace+" --wait (by somebody with the role Contributor on the subscription)")
			}
			changed = true
		}
		if err := wait(ctx, min(pause, 5*time.Second)); err != nil {
			return changed, explain(err, object)
		}
	}
}
