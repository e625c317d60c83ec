package reconcile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/sluice-gitops/sluice/internal/keyring"
	"github.com/sluice-gitops/sluice/internal/kms/aws"
	"github.com/sluice-gitops/sluice/internal/kms/gcp"
)

// cloudEndpoints say where AWS and Google are. The zero value is where their operators run them.
type cloudEndpoints struct {
	aws    string // STS and EKS
	google gcp.Endpoints
	gke    string
}

// cloudControlPlane is a cluster of a cloud as one identity sees it: *aws.Cluster, *gcp.Cluster.
type cloudControlPlane interface {
	Describe(ctx context.Context) (server string, ca []byte, err error)
	Token(ctx context.Context) (token string, until time.Time, err error)
}

// cloudCluster is the way into an EKS or GKE cluster as an identity of AWS or Google: account's, or the controller's own
// if it is empty. As in Flux, the ConfigMap's address and ca.crt together spare the cloud's answer; but the controller's
// own proof, which is good for more than one tenant's clusters, is only sent to the address that the cloud gives.
func (k *Kustomizations) cloudCluster(ctx context.Context, cm *corev1.ConfigMap, account string) (*cluster, error) {
	who, clouds, err := k.cloudsOf(ctx, cm, account)
	if err != nil {
		return nil, err
	}
	plane, err := k.controlPlane(cm, clouds)
	if err != nil {
		return nil, err
	}
	key := string(cm.UID) + "/" + cm.ResourceVersion + "/" + who
	if known, ok := k.appliers.aks.Load(key); ok && time.Now().Before(known.(*aksAnswer).until) {
		return known.(*aksAnswer).cluster, nil
	}
	host, ca := cm.Data["address"], []byte(cm.Data["ca.crt"])
	if strings.HasPrefix(host, "http://") {
		return nil, errors.New("its key address is no https address")
	}
	if host == "" || len(ca) == 0 || account == "" {
		server, trust, err := plane.Describe(ctx)
		switch {
		case err != nil:
			return nil, err
		case server == "" || len(trust) == 0:
			return nil, errors.New("the cluster has no API server yet")
		case host != "" && !sameHost(server, host):
			return nil, fmt.Errorf("its key address is not that of the cluster, which is %s", server)
		case host == "":
			host = server
		}
		if len(ca) == 0 {
			ca = trust
		}
	}
	sum := sha256.Sum256([]byte(who + "\x00" + host + "\x00" + string(ca)))
	found := &cluster{
		id: cm.Namespace + "/configmap/" + cm.Name + "@" + string(cm.UID) + "/" + cm.ResourceVersion + "/" + account + "/" + hex.EncodeToString(sum[:8]),
		config: &rest.Config{
			Host: host, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAData: ca},
			WrapTransport: func(next http.RoundTripper) http.RoundTripper { return &cloudBearer{plane: plane, next: next} },
		},
	}
	k.appliers.aks.Store(key, &aksAnswer{found, time.Now().Add(aksMemory)})
	return found, nil
}

// cloudsOf returns an identity's ways to AWS and Google, and a name that changes with what the identity is.
func (k *Kustomizations) cloudsOf(ctx context.Context, cm *corev1.ConfigMap, account string) (who string, c keyring.Clouds, err error) {
	if account == "" {
		return "", k.workload.clouds, nil
	}
	key := types.NamespacedName{Namespace: cm.Namespace, Name: account}
	sa, err := readAccount(ctx, k.Reader, key, "serviceAccountName in the ConfigMap")
	if err != nil {
		return "", c, err
	}
	audiences := strings.Fields(cm.Data["audiences"]) // one a line
	who = "kubeconfig/" + key.String() + cloudName(sa) + "|" + strings.Join(audiences, " ")
	return who, k.identities.clouds.of(who, sa, func(ctx context.Context, audience string) (string, error) {
		wanted := audiences
		if len(wanted) == 0 {
			wanted = []string{audience}
		}
		token, _, err := requestToken(ctx, k.Client, key, wanted)
		return token, err
	}), nil
}

func (k *Kustomizations) controlPlane(cm *corev1.ConfigMap, c keyring.Clouds) (cloudControlPlane, error) {
	at, resource := k.Options.cloud, cm.Data["cluster"]
	var plane cloudControlPlane
	var err error
	switch {
	case cm.Data["provider"] == "aws" && c.AWS == nil:
		return nil, c.AWSErr
	case cm.Data["provider"] == "gcp" && c.Google == nil:
		return nil, c.GoogleErr
	case cm.Data["provider"] == "aws":
		plane, err = aws.NewCluster(resource, c.AWS, aws.Options{Endpoint: at.aws})
	default:
		plane, err = gcp.NewCluster(resource, c.Google, gcp.Options{HTTP: at.google.HTTP, Endpoint: at.gke})
	}
	if err != nil {
		return nil, fmt.Errorf("its key cluster: %w", err)
	}
	return plane, nil
}

// cloudBearer signs requests with the proof that a cloud's cluster takes, and renews it.
type cloudBearer struct {
	plane cloudControlPlane
	next  http.RoundTripper

	mu    sync.Mutex
	token string
	until time.Time
}

// RoundTrip implements http.RoundTripper.
func (b *cloudBearer) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := b.get(r.Context())
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	return b.next.RoundTrip(r)
}

func (b *cloudBearer) get(ctx context.Context) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.token != "" && time.Now().Before(b.until) {
		return b.token, nil
	}
	token, until, err := b.plane.Token(ctx)
	if err == nil {
		b.token, b.until = token, until
	}
	return token, err
}
