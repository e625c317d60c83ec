package reconcile

import (
	"context"
	"errors"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/keyring"
)

// vaultConfigEntry is the ConfigMap's entry, as Flux names it.
const vaultConfigEntry = "config.yaml"

// vaultSignIn says at which Vault and OpenBao servers ServiceAccounts sign in: the ConfigMap of --sops-vault-configmap.
// The zero value is none.
type vaultSignIn struct {
	reader client.Reader
	name   types.NamespacedName
}

func (v vaultSignIn) on() bool { return v.name.Name != "" }

func (v vaultSignIn) source() string { return "ConfigMap/" + v.name.String() }

// of is a ServiceAccount's way to Vault, or why it has none. There is no falling back to the controller's token.
func (v vaultSignIn) of(key types.NamespacedName, request func(ctx context.Context, audience string) (string, error)) (*keyring.VaultToken, error) {
	if !v.on() {
		return nil, accountFault("SLU-IDENTITY-094", key, "there is no Vault token", "the controller was not told where a ServiceAccount signs in to Vault",
			"start the controller with --sops-vault-configmap, or put a token into the Secret that spec.decryption.secretRef names, as its entry sops.vault-token")
	}
	return keyring.VaultByAccount(v.source(), v.paths, func(ctx context.Context, audience string) (string, string, string, error) {
		token, err := request(ctx, audience)
		return token, key.Namespace, key.Name, err
	}), nil
}

// own is the controller's way to Vault as its own ServiceAccount, which the API server names.
func (v vaultSignIn) own(c client.Client) *keyring.VaultToken {
	return keyring.VaultByAccount(v.source(), v.paths, func(ctx context.Context, audience string) (string, string, string, error) {
		review := &authenticationv1.SelfSubjectReview{}
		if err := c.Create(ctx, review); err != nil {
			return "", "", "", vaultFault("097", v.source(), "the API server does not say who the controller is", err.Error(), "kubectl auth whoami")
		}
		rest, ok := strings.CutPrefix(review.Status.UserInfo.Username, "system:serviceaccount:")
		namespace, name, _ := strings.Cut(rest, ":")
		if !ok || name == "" {
			return "", "", "", vaultFault("097", v.source(), "the controller is no ServiceAccount", "it is "+review.Status.UserInfo.Username+", for whom there is no token to sign in to Vault with",
				"run the controller in the cluster, or name a ServiceAccount in spec.decryption.serviceAccountName")
		}
		token, _, err := requestToken(ctx, c, types.NamespacedName{Namespace: namespace, Name: name}, []string{audience})
		return token, namespace, name, err
	})
}

// paths reads the ConfigMap. It is read anew with each sign-in, so that a change needs no restart.
func (v vaultSignIn) paths(ctx context.Context) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var cm corev1.ConfigMap
	if err := v.reader.Get(ctx, v.name, &cm); err != nil {
		return nil, vaultFault("095", v.source(), "the ConfigMap of --sops-vault-configmap cannot be read", err.Error(),
			"kubectl get configmap "+v.name.Name+" -n "+v.name.Namespace)
	}
	var config struct {
		Instances []struct {
			Address   string `json:"address"`
			LoginPath string `json:"loginPath"`
		} `json:"instances"`
	}
	text, ok := cm.Data[vaultConfigEntry]
	err := yaml.UnmarshalStrict([]byte(text), &config)
	paths := map[string]string{}
	for _, i := range config.Instances {
		if i.Address == "" || i.LoginPath == "" {
			err = errors.New("an instance lacks its address or loginPath")
		}
		paths[i.Address] = i.LoginPath
	}
	if !ok || err != nil {
		why := "it has no entry " + vaultConfigEntry
		if err != nil {
			why = err.Error()
		}
		return nil, vaultFault("096", v.source(), "its entry "+vaultConfigEntry+" is no list of Vault servers", why,
			"write it as instances: [{address: https://vault.example.com:8200, loginPath: auth/kubernetes/login}]")
	}
	return paths, nil
}

func vaultFault(number, object, seen, why, fix string) error {
	return &fault.Fault{Code: "SLU-IDENTITY-" + number, Hop: fault.HopIdentity, Object: object, Seen: seen, Why: why, Fix: fix}
}
