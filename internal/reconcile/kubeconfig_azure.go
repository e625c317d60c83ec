package reconcile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azarm "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sluice-gitops/sluice/internal/azure/arm"
	"github.com/sluice-gitops/sluice/internal/azure/cloud"
)

// aksScope is what a token for the API server of any AKS cluster is for.
const aksScope = "6dae42f8-4368-4678-94ff-3960e28e3630/.default"

// aksMemory is how long Resource Manager's answer serves: it limits reads per identity, and addresses hardly ever change.
const aksMemory = 10 * time.Minute

type aksAnswer struct {
	cluster *cluster
	until   time.Time
}

// aksCluster is the way into an AKS cluster as an Entra identity: account's, or the controller's own if it is empty. The
// ConfigMap's address and ca.crt together spare Resource Manager's answer, as in Flux; but the controller's own token, which
// is good for more than one tenant's clusters, is only sent to the address that Resource Manager gives.
func (k *Kustomizations) aksCluster(ctx context.Context, cm *corev1.ConfigMap, account string) (*cluster, error) {
	var cred azcore.TokenCredential = k.workload.credential
	err := k.workload.err
	if account != "" {
		cred, err = k.accountCredential(ctx, types.NamespacedName{Namespace: cm.Namespace, Name: account})
	}
	if err != nil {
		return nil, err
	}
	key := string(cm.UID) + "/" + cm.ResourceVersion + "/" + account
	if known, ok := k.appliers.aks.Load(key); ok && time.Now().Before(known.(*aksAnswer).until) {
		return known.(*aksAnswer).cluster, nil
	}
	host, ca := cm.Data["address"], []byte(cm.Data["ca.crt"])
	if host == "" || len(ca) == 0 || account == "" {
		server, trust, err := k.describeAKS(ctx, cred, cm.Data["cluster"], host)
		if err != nil {
			return nil, err
		}
		if host == "" {
			host = server
		}
		if len(ca) == 0 {
			ca = trust
		}
	}
	sum := sha256.Sum256([]byte(host + "\x00" + string(ca)))
	found := &cluster{
		id: cm.Namespace + "/configmap/" + cm.Name + "@" + string(cm.UID) + "/" + cm.ResourceVersion + "/" + account + "/" + hex.EncodeToString(sum[:8]),
		config: &rest.Config{
			Host: host, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAData: ca},
			WrapTransport: func(next http.RoundTripper) http.RoundTripper { return entraBearer{cred, next} },
		},
	}
	k.appliers.aks.Store(key, &aksAnswer{found, time.Now().Add(aksMemory)})
	return found, nil
}

func (k *Kustomizations) accountCredential(ctx context.Context, key types.NamespacedName) (azcore.TokenCredential, error) {
	_, w, err := k.identities.account(ctx, k.Reader, k.Client, key, "serviceAccountName in the ConfigMap")
	if err != nil {
		return nil, err
	}
	return w, nil
}

// describeAKS asks Resource Manager where a cluster's API server is: the one at address, if that is not empty.
func (k *Kustomizations) describeAKS(ctx context.Context, cred azcore.TokenCredential, resource, address string) (server string, ca []byte, err error) {
	id, err := azarm.ParseResourceID(resource)
	if err != nil || !strings.EqualFold(id.ResourceType.String(), "Microsoft.ContainerService/managedClusters") {
		return "", nil, fmt.Errorf("its key cluster is no resource id of a managed cluster: /subscriptions/…/resourceGroups/…/providers/Microsoft.ContainerService/managedClusters/…")
	}
	o := azcore.ClientOptions{Transport: k.Options.azure}
	if own, ok := cloud.OfAuthority(os.Getenv("AZURE_AUTHORITY_HOST")); ok {
		o.Cloud = own.SDK()
	}
	c, err := arm.New(id.SubscriptionID, cred, o)
	if err != nil {
		return "", nil, err
	}
	texts, err := c.UserKubeconfigs(ctx, id.ResourceGroupName, id.Name)
	if err != nil {
		return "", nil, err
	}
	for _, text := range texts {
		raw, err := clientcmd.Load(text)
		if err != nil {
			continue
		}
		for _, at := range raw.Clusters { // the users' credentials are left alone
			if address == "" || sameHost(at.Server, address) {
				return at.Server, at.CertificateAuthorityData, nil
			}
		}
	}
	return "", nil, fmt.Errorf("AKS gives no kubeconfig of %s with that address", resource)
}

func sameHost(a, b string) bool {
	host := func(s string) string {
		if !strings.Contains(s, "://") {
			s = "https://" + s
		}
		u, err := url.Parse(s)
		if err != nil {
			return s
		}
		port := u.Port()
		if port == "" {
			port = "443"
		}
		return strings.ToLower(u.Hostname()) + ":" + port
	}
	return host(a) == host(b)
}

// entraBearer signs requests with a token of Entra ID, which the credential keeps and renews.
type entraBearer struct {
	cred azcore.TokenCredential
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (b entraBearer) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := b.cred.GetToken(r.Context(), policy.TokenRequestOptions{Scopes: []string{aksScope}})
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token.Token)
	return b.next.RoundTrip(r)
}
