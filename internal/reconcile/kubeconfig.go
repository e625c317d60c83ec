package reconcile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fluxcd/pkg/apis/meta"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// cluster is a way into a remote cluster. Its id holds a digest of the credentials: other ones are another cluster.
type cluster struct {
	id     string
	config *rest.Config
}

// target returns where and as whom obj applies.
func (k *Kustomizations) target(ctx context.Context, obj *Kustomization) (*target, error) {
	remote, err := k.remote(ctx, obj)
	if err != nil {
		return nil, err
	}
	return k.appliers.of(remote, obj.Namespace, k.serviceAccount(obj))
}

// remote returns the cluster of spec.kubeConfig, nil for our own.
func (k *Kustomizations) remote(ctx context.Context, obj *Kustomization) (*cluster, error) {
	ref := obj.Spec.KubeConfig
	switch {
	case ref == nil:
		return nil, nil
	case ref.SecretRef != nil:
		return k.remoteBySecret(ctx, obj, ref.SecretRef)
	case ref.ConfigMapRef != nil:
		return k.remoteByConfigMap(ctx, obj, ref.ConfigMapRef.Name)
	}
	return nil, nil // refused by the API server's schema
}

func (k *Kustomizations) remoteBySecret(ctx context.Context, obj *Kustomization, ref *meta.SecretKeyReference) (*cluster, error) {
	data, err := secretData(ctx, k.Reader, obj.Namespace, ref.Name)
	if err != nil {
		return nil, kubeConfigFault(obj, "Secret "+ref.Name, err)
	}
	keys := []string{ref.Key}
	if ref.Key == "" {
		keys = []string{"value", "value.yaml"}
	}
	for _, key := range keys {
		if text := data[key]; len(text) > 0 {
			cfg, err := k.parseKubeConfig(text)
			if err != nil {
				return nil, kubeConfigFault(obj, "Secret "+ref.Name+", key "+key, err)
			}
			sum := sha256.Sum256(text)
			return &cluster{obj.Namespace + "/secret/" + ref.Name + "/" + key + "@" + hex.EncodeToString(sum[:]), cfg}, nil
		}
	}
	return nil, kubeConfigFault(obj, "Secret "+ref.Name, fmt.Errorf("it has no key %s", strings.Join(keys, " or ")))
}

// parseKubeConfig reads a kubeconfig that a tenant wrote. Nothing in it may start a program, read a file of this process
// or, unless a flag allows it, skip the check of the server's certificate. Its errors hold no part of the text.
func (k *Kustomizations) parseKubeConfig(text []byte) (*rest.Config, error) {
	raw, err := clientcmd.Load(text)
	if err != nil {
		return nil, fmt.Errorf("it is no kubeconfig")
	}
	for _, u := range raw.AuthInfos {
		switch {
		case u.Exec != nil && !k.Options.InsecureKubeConfigExec:
			return nil, fmt.Errorf("a user signs in by a program (exec), which would run in the controller; use a token or a client certificate")
		case u.AuthProvider != nil:
			return nil, fmt.Errorf("a user signs in by an auth-provider, which is no longer supported; use a token or a client certificate")
		case u.ClientCertificate != "" || u.ClientKey != "" || u.TokenFile != "":
			return nil, fmt.Errorf("a user's credentials are file names; put the files' content into client-certificate-data, client-key-data or token")
		}
	}
	for _, c := range raw.Clusters {
		switch {
		case c.CertificateAuthority != "":
			return nil, fmt.Errorf("certificate-authority is a file name; put the file's content into certificate-authority-data")
		case c.InsecureSkipTLSVerify && !k.Options.InsecureKubeConfigTLS:
			return nil, fmt.Errorf("insecure-skip-tls-verify is set, which --insecure-kubeconfig-tls would have to allow")
		}
	}
	cfg, err := clientcmd.NewDefaultClientConfig(*raw, &clientcmd.ConfigOverrides{Context: clientcmdapi.Context{}}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("its current-context names no whole cluster and user")
	}
	cfg.QPS = -1
	return cfg, nil
}

// remoteByConfigMap signs in as the ConfigMap's provider says: "azure" to AKS (aksCluster), "aws" to EKS and "gcp" to GKE
// (cloudCluster), "generic" with a token of a ServiceAccount of ours, which the remote API server trusts as its OIDC
// issuer's.
func (k *Kustomizations) remoteByConfigMap(ctx context.Context, obj *Kustomization, name string) (*cluster, error) {
	var cm corev1.ConfigMap
	if err := k.Reader.Get(ctx, client.ObjectKey{Namespace: obj.Namespace, Name: name}, &cm); err != nil {
		return nil, kubeConfigFault(obj, "ConfigMap "+name, err)
	}
	account := cm.Data["serviceAccountName"]
	if account == "" {
		account = k.Options.DefaultKubeConfigServiceAccount
	}
	var err error
	switch provider := cm.Data["provider"]; {
	case provider == "azure", provider == "aws", provider == "gcp":
		if account != "" && !k.Options.Features.On(ObjectLevelWorkloadIdentity) {
			return nil, gateFault(obj, "a ServiceAccount for spec.kubeConfig.configMapRef")
		}
		open := k.aksCluster
		if provider != "azure" {
			open = k.cloudCluster
		}
		c, err := open(ctx, &cm, account)
		if err != nil && fault.From(err) == nil {
			err = kubeConfigFault(obj, "ConfigMap "+name, err)
		}
		return c, err
	case provider != "generic":
		err = fmt.Errorf("provider %q is none of generic, aws, azure and gcp", provider)
	case cm.Data["address"] == "":
		err = fmt.Errorf("it has no key address")
	case account == "":
		err = fmt.Errorf("it has no key serviceAccountName, and --default-kubeconfig-service-account is not set")
	case !k.Options.Features.On(ObjectLevelWorkloadIdentity):
		return nil, gateFault(obj, "a ServiceAccount for spec.kubeConfig.configMapRef")
	}
	if err != nil {
		return nil, kubeConfigFault(obj, "ConfigMap "+name, err)
	}
	audiences := strings.Fields(cm.Data["audiences"]) // one a line
	if len(audiences) == 0 {
		audiences = []string{cm.Data["address"]}
	}
	token := &accountToken{client: k.Client, account: types.NamespacedName{Namespace: obj.Namespace, Name: account}, audiences: audiences}
	return &cluster{
		id: obj.Namespace + "/configmap/" + name + "@" + string(cm.UID) + "/" + cm.ResourceVersion + "/" + account,
		config: &rest.Config{
			Host: cm.Data["address"], QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAData: []byte(cm.Data["ca.crt"])},
			WrapTransport: func(next http.RoundTripper) http.RoundTripper { return bearer{token, next} },
		},
	}, nil
}

// bearer signs requests with a ServiceAccount's token.
type bearer struct {
	token *accountToken
	next  http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := b.token.get(r.Context())
	if err != nil {
		return nil, fmt.Errorf("token of ServiceAccount %s: %w", b.token.account, err)
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+token)
	return b.next.RoundTrip(r)
}

func kubeConfigFault(obj *Kustomization, what string, err error) error {
	return &fault.Fault{
		Code: "SLU-KUBERNETES-004", Hop: fault.HopAPI, Object: "Kustomization/" + obj.Namespace + "/" + obj.Name,
		Seen: "spec.kubeConfig gives no way into a cluster", Why: what + ": " + err.Error(),
		Fix: "correct what spec.kubeConfig names", Reason: meta.ReconciliationFailedReason, Err: err,
	}
}

// gateFault refuses what Flux keeps behind the gate ObjectLevelWorkloadIdentity.
func gateFault(obj *Kustomization, what string) error {
	return &fault.Fault{
		Code: "SLU-API-004", Hop: fault.HopAPI, Object: "Kustomization/" + obj.Namespace + "/" + obj.Name,
		Seen: what + " is set", Why: "the feature gate ObjectLevelWorkloadIdentity is not enabled in the controller",
		Fix:    "start the controller with --feature-gates=ObjectLevelWorkloadIdentity=true",
		Reason: meta.FeatureGateDisabledReason,
	}
}
