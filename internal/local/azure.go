package local

import (
	"context"
	"crypto/rsa"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"k8s.io/client-go/rest"

	"github.com/sluice-gitops/sluice/internal/azure/arm"
	"github.com/sluice-gitops/sluice/internal/azure/identity"
	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/local/node"
	"github.com/sluice-gitops/sluice/internal/local/state"
	"github.com/sluice-gitops/sluice/internal/provision"
)

// What the azure step makes, with names of its own: they are in the state folders of platforms that exist.
const (
	resourceGroup = "sluice"
	aksName       = "sluice"
	identityName  = "kustomize-controller"
	keyName       = "sops"
)

// developerPermissions let the developer at the keyboard do what sops does, and rotate, disable and delete keys to see
// what happens then.
var developerPermissions = []string{
	"get", "list", "create", "update", "import", "delete", "recover", "encrypt", "decrypt", "wrapKey", "unwrapKey", "rotate",
}

// vaultName is unique in the emulated Azure, as it would have to be in the real one.
func vaultName(subscription string) string { return "sluice-" + strings.ToLower(subscription[:8]) }

// provision makes, as the developer and with the code of `sluice azure provision`, what that makes on Azure, and notes
// it in the record. What exists already is left as it is.
func (s *supervisor) provision(ctx context.Context, step *event.Step) (string, error) {
	env := s.emulator.Env()
	transport, err := s.emulator.Client()
	if err != nil {
		return "", err
	}
	cred, err := identity.ForServicePrincipal(env.TenantID, env.DeveloperClientID, env.DeveloperSecret, transport)
	if err != nil {
		return "", err
	}
	clientOptions := azcore.ClientOptions{Transport: transport}
	c, err := arm.New(env.SubscriptionID, cred, clientOptions)
	if err != nil {
		return "", err
	}
	made, err := provision.Run(ctx, c, provision.Spec{
		Group: resourceGroup, Cluster: aksName, Identity: identityName, Vault: vaultName(env.SubscriptionID), Key: keyName,
		Namespace: node.Namespace, ServiceAccount: node.Name, NoPurgeProtect: true, PersonPermissions: developerPermissions,
	}, within(step))
	if err != nil {
		return "", err
	}
	step.Progress("public half of the key")
	key, err := keyvault.ParseKeyID(made.KeyURL)
	if err != nil {
		return "", err
	}
	id, pub, err := keyvault.New(cred, keyvault.Options{Client: clientOptions}).PublicKey(ctx, key)
	if err != nil {
		return "", err
	}
	s.key, s.publicKey = id, pub
	return id.String(), s.rec.Update(func(r *state.Record) {
		r.Azure = state.Azure{
			TenantID: env.TenantID, SubscriptionID: env.SubscriptionID, ResourceGroup: resourceGroup, Identity: identityName, Vault: vaultName(env.SubscriptionID),
			ClientID: made.Identity.ClientID, PrincipalID: made.Identity.PrincipalID, KeyURL: id.String(),
		}
	})
}

// announceCluster lets Resource Manager say where the cluster is, as it does of one on AKS.
func (s *supervisor) announceCluster(admin *rest.Config) error {
	if err := rest.LoadTLSFiles(admin); err != nil {
		return fmt.Errorf("the cluster's certificate: %w", err)
	}
	s.emulator.SetClusterEndpoint(admin.Host, admin.CAData)
	return nil
}

// within shows steps as the progress of one step.
func within(step *event.Step) event.Sink {
	return event.SinkFunc(func(e event.Event) {
		if e.Phase == event.Started {
			step.Progress(e.Text)
		}
	})
}

// sealing is what the repository step needs of the azure step.
type sealing struct {
	key       keyvault.KeyID // with version
	publicKey *rsa.PublicKey
}
