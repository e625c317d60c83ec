package doctor

import (
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-gitops/sluice/internal/azure/cloud"
	"github.com/sluice-gitops/sluice/internal/azure/identity"
	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
)

// Options say whose chain is walked and with what eyes.
type Options struct {
	Client        client.Client
	Kustomization types.NamespacedName
	Controller    types.NamespacedName // the Deployment; its ServiceAccount is the pod template's

	// Azure is the developer's sign-in, for Resource Manager. nil: those hops are judged by what the exchange shows.
	Azure         azcore.TokenCredential
	Subscription  string               // empty: every one that Azure may see
	AzureOptions  azcore.ClientOptions // Transport and Retry
	AuthorityHost string               // of Entra ID, where the pod's environment shows none; empty: that of the vaults' cloud
	ArtifactHost  string               // host and port that stand for the one in artifacts' addresses; empty: that one
	NoNetwork     bool                 // look at the cluster only

	// Pod is set inside of the cluster: the process's own identity stands for the running pod's.
	Pod *PodEnvironment
}

// PodEnvironment is what the workload identity webhook gave to the process that the doctor runs in.
type PodEnvironment struct{ ClientID, TenantID, TokenFile string }

// Facts are what was seen of one chain. An error beside a fact says why it is missing; both empty means that something
// before it was missing.
type Facts struct {
	Object     types.NamespacedName
	Controller types.NamespacedName
	NoNetwork  bool

	Kustomization *kustomizev1.Kustomization
	Source        SourceFacts
	Path          error // that the revision does not hold spec.path
	Documents     []Document

	Deployment    *appsv1.Deployment
	DeploymentErr error
	Account       types.NamespacedName // whose tokens are exchanged
	PerObject     bool                 // Account is the Kustomization's own, not the controller's
	ServiceAcc    *corev1.ServiceAccount
	ServiceAccErr error
	Pod           PodFacts

	Cloud     cloud.Cloud // in which the chain belongs: that of the files' vaults, else of the sign-in
	Authority string      // of Entra ID, as the controller's process has it; empty: the public cloud's

	Token    TokenFacts
	Azure    AzureFacts
	Exchange error // nil with Exchanged: it gave a token
	// Exchanged says that the exchange was tried.
	Exchanged bool
	ClientID  string
	TenantID  string
	Vaults    []VaultFacts

	SecretErr error // the Secret of spec.decryption cannot be read or used

	workload  *identity.Workload
	authority bool // Authority is what the controller's process has: its environment was seen
	tokenText bool // there was a token, whatever it is worth
	cleanup   []func()
}

// SourceFacts are what the source's object says, and what its remote or its artifact gave.
type SourceFacts struct {
	Kind, Namespace, Name string
	Err                   error          // the object cannot be read
	URL                   string         // of a GitRepository
	Artifact              *meta.Artifact // in the object's status
	Others                bool           // another controller reconciles it, and this one reads the artifact
	Fetched               string         // revision in the object's status
	NotReady              string         // message of a Ready condition that is False
	Suspended             bool
	Revision              string // what the remote or the artifact gave just now
	FetchErr              error
	Looked                bool   // remote or artifact were asked from here
	Why                   string // what would be needed to ask
}

// Document is one encrypted file that the Kustomization reads.
type Document struct {
	Path       string
	Err        error // its metadata cannot be used
	Recipients []string
	Keys       []keyvault.KeyID // the Key Vault recipients
	Tried      bool             // OpenErr counts
	OpenErr    error

	data []byte
}

// PodFacts are the running pod of the controller, or the process that the doctor runs in.
type PodFacts struct {
	Err       error
	Name      string
	Labels    map[string]string
	Env       map[string]string // the four AZURE_* variables
	Projected bool              // a token of the exchange's audience is mounted where AZURE_FEDERATED_TOKEN_FILE says
	Audience  string            // that audience
	Simulated string            // the node that only pretends to run it
	Own       bool              // the doctor runs in it
}

// TokenFacts are the claims of a token of Account.
type TokenFacts struct {
	Claims identity.Claims
	Err    error
	Got    bool
	Issuer IssuerFacts
}

// IssuerFacts are what the token's issuer publishes.
type IssuerFacts struct {
	Looked bool
	Err    error // a document cannot be had
	Issuer string
	KeyIDs []string
}

// AzureFacts are Resource Manager's view. Err says why there is none.
type AzureFacts struct {
	Err         error
	Looked      bool
	Identities  []Identity
	Federations []Federation // of the identity that ClientID names
	// Candidate is the identity that the account was probably meant to name, where ClientID names none.
	Candidate  *Identity
	FedErr     error
	Clusters   []Cluster
	ClusterErr error
	Vaults     []Vault
	VaultErr   error
	Deleted    []DeletedVault
}

// Identity is a user-assigned managed identity.
type Identity struct{ ID, Name, Group, ClientID, PrincipalID, TenantID string }

// Federation is a federated credential.
type Federation struct {
	ID, Name, Issuer, Subject string
	Audiences                 []string
}

// Cluster is a managed cluster.
type Cluster struct {
	ID, Name, Group, Issuer, FQDN string
	OIDC, WorkloadIdentity        bool

	raw map[string]any // as Resource Manager gave it, to be given back with the switches on
}

// Vault is a vault as Resource Manager has it.
type Vault struct {
	ID, Name, Group, TenantID string
	RBAC                      bool
	Policies                  []Policy
	Roles                     []Role
	RolesErr                  error
}

// DeletedVault is a soft-deleted vault.
type DeletedVault struct{ Name, ID, Location string }

// Policy is an entry of a vault's access policies.
type Policy struct {
	TenantID, ObjectID string
	Keys               []string
}

// Role is a role assignment that holds for a vault.
type Role struct{ PrincipalID, RoleID, Scope string }

// VaultFacts are a vault that a document names, as it answers.
type VaultFacts struct {
	Key    keyvault.KeyID // a key of it that a document is sealed with
	Err    error          // it does not answer, or not as a vault does
	Tenant string         // that its challenge names
}
