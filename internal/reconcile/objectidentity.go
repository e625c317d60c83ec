package reconcile

import (
	"context"
	"os"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/azure/cloud"
	"github.com/sluice-gitops/sluice/internal/azure/identity"
	"github.com/sluice-gitops/sluice/internal/fault"
)

const (
	annotationClient = identity.ClientAnnotation
	annotationTenant = identity.TenantAnnotation
	azureAudience    = cloud.TokenExchange // in every cloud, as Flux asks
	maxIdentities    = 1000
)

// objectIdentities holds one Azure identity per ServiceAccount that decrypts or fetches for objects of its namespace. The
// name is the key ring's partition: it changes with the account (a deleted and recreated one is another) and with what its
// annotations say.
type objectIdentities struct {
	mu    sync.Mutex
	known map[string]*identity.Workload

	transport policy.Transporter // to Entra ID; nil: the SDK's own
	clouds    accountClouds      // the other clouds' identities of the same accounts
}

// decryptionAccount is the ServiceAccount that decrypts for obj, empty for the controller itself.
func (k *Kustomizations) decryptionAccount(obj *Kustomization) string {
	if d := obj.Spec.Decryption; d != nil && d.ServiceAccountName != "" {
		return d.ServiceAccountName
	}
	return k.Options.DefaultDecryptionServiceAccount
}

// account returns the partition and Azure identity of a ServiceAccount that field names. There is no falling back to the
// controller's identity: err is what everything that needs Azure fails with.
func (o *objectIdentities) account(ctx context.Context, reader client.Reader, c client.Client, key types.NamespacedName, field string) (name string, w *identity.Workload, err error) {
	sa, err := readAccount(ctx, reader, key, field)
	if err != nil {
		return "serviceaccount/" + key.String(), nil, err
	}
	return o.azure(c, sa)
}

func readAccount(ctx context.Context, reader client.Reader, key types.NamespacedName, field string) (*corev1.ServiceAccount, error) {
	var sa corev1.ServiceAccount
	err := reader.Get(ctx, key, &sa)
	if err == nil {
		return &sa, nil
	}
	f := identity.Account(key).Unread(err, field)
	f.Reason = meta.BuildFailedReason
	return nil, f
}

// azure returns the partition and Azure identity of a ServiceAccount.
func (o *objectIdentities) azure(c client.Client, sa *corev1.ServiceAccount) (name string, w *identity.Workload, err error) {
	key := types.NamespacedName{Namespace: sa.Namespace, Name: sa.Name}
	name = "serviceaccount/" + key.String()
	clientID, tenantID := sa.Annotations[annotationClient], sa.Annotations[annotationTenant]
	var missing []string
	for _, name := range []string{annotationClient, annotationTenant} {
		if sa.Annotations[name] == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		f := identity.Account(key).Unannotated(missing...)
		f.Reason = meta.BuildFailedReason
		return name, nil, f
	}
	name += "@" + string(sa.UID) + "/" + tenantID + "/" + clientID
	w, err = o.of(name, identity.Config{
		ClientID: clientID, TenantID: tenantID, AuthorityHost: os.Getenv("AZURE_AUTHORITY_HOST"),
		Client:  azcore.ClientOptions{Transport: o.transport},
		Account: identity.Account(key),
		Assertion: func(ctx context.Context) (string, error) {
			token, _, err := requestToken(ctx, c, key, []string{azureAudience})
			return token, err
		},
	})
	return name, w, err
}

func (o *objectIdentities) of(name string, cfg identity.Config) (*identity.Workload, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if w := o.known[name]; w != nil {
		return w, nil
	}
	w, err := identity.New(cfg)
	if err != nil {
		return nil, err
	}
	tokens.follow(w)
	if o.known == nil || len(o.known) >= maxIdentities {
		for _, old := range o.known {
			tokens.evict(old)
		}
		o.known = map[string]*identity.Workload{}
	}
	o.known[name] = w
	return w, nil
}

func accountFault(code string, key client.ObjectKey, seen, why, fix string) *fault.Fault {
	return &fault.Fault{
		Code: code, Hop: fault.HopIdentity, Object: "ServiceAccount/" + key.String(), Seen: seen, Why: why, Fix: fix,
		Reason: meta.BuildFailedReason,
	}
}
