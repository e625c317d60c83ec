package store

import (
	"strings"
	"time"
)

// Version is the format of the state file that this build writes and the newest that it reads.
const Version = 1

// State is everything the emulated Azure knows. Values reached through Store.State are shared and must not be changed;
// Store.Update hands out a copy that may be. Maps are keyed by Fold of what the field comment says.
type State struct {
	Version      int       `json:"version"`
	Tenant       string    `json:"tenant"`       // GUID
	Subscription string    `json:"subscription"` // GUID
	Region       string    `json:"region"`       // of the issuer, such as westeurope
	IssuerID     string    `json:"issuerId"`     // the GUID in the issuer URL
	Developer    Developer `json:"developer"`

	Groups      map[string]*Group      `json:"groups"`      // by name
	Identities  map[string]*Identity   `json:"identities"`  // by GroupedID(group, name)
	Vaults      map[string]*Vault      `json:"vaults"`      // by name, which is global
	Clusters    map[string]*Cluster    `json:"clusters"`    // by GroupedID(group, name)
	Assignments map[string]*Assignment `json:"assignments"` // by resource id
	Operations  map[string]*Operation  `json:"operations"`  // by id
	Providers   map[string]*Provider   `json:"providers"`   // by namespace; one that is missing is registered
}

// Operation is a long-running operation of Resource Manager's, under way until Until.
type Operation struct {
	Until   time.Time `json:"until"`
	Code    string    `json:"code,omitempty"` // what it fails with; empty: it succeeds
	Message string    `json:"message,omitempty"`
}

// Pending says what is being done to a resource, and until when. Its zero value is nothing.
type Pending struct {
	State string    `json:"state,omitempty"` // provisioning state meanwhile, such as Creating
	Until time.Time `json:"until,omitzero"`
	Fails bool      `json:"fails,omitempty"` // it will be left in the state Failed
}

// Provider is a resource provider whose registration was changed.
type Provider struct {
	Registered bool      `json:"registered"`
	Since      time.Time `json:"since,omitzero"` // when a registration comes into force
}

// Developer is the service principal of the person at the keyboard: Owner of the subscription.
type Developer struct {
	ClientID string `json:"clientId"`
	ObjectID string `json:"objectId"`
	Secret   string `json:"secret"`
}

// Group is a resource group.
type Group struct {
	Name     string            `json:"name"`
	Location string            `json:"location"`
	Tags     map[string]string `json:"tags,omitempty"`
	Pending  Pending           `json:"pending,omitzero"` // Deleting, or nothing
}

// Identity is a user-assigned managed identity.
type Identity struct {
	Group       string                 `json:"group"`
	Name        string                 `json:"name"`
	Location    string                 `json:"location"`
	Tags        map[string]string      `json:"tags,omitempty"`
	ClientID    string                 `json:"clientId"`
	PrincipalID string                 `json:"principalId"`
	Credentials map[string]*Federation `json:"credentials"` // by name
}

// Federation is a federated identity credential: whose assertions stand for the identity.
type Federation struct {
	Name      string   `json:"name"`
	Issuer    string   `json:"issuer"`
	Subject   string   `json:"subject"`
	Audiences []string `json:"audiences"` // exactly one
}

// Vault is a key vault with its access configuration and keys.
type Vault struct {
	Group           string            `json:"group"`
	Name            string            `json:"name"`
	Location        string            `json:"location"`
	Tags            map[string]string `json:"tags,omitempty"`
	TenantID        string            `json:"tenantId"`
	SKU             string            `json:"sku"` // standard or premium
	RBAC            bool              `json:"rbac"`
	PurgeProtection bool              `json:"purgeProtection,omitempty"`
	RetentionDays   int               `json:"retentionDays"`
	Policies        []Policy          `json:"policies"`
	Created         time.Time         `json:"created"`
	Deleted         *time.Time        `json:"deleted,omitempty"` // soft-deleted since
	Keys            map[string]*Key   `json:"keys"`              // by name
	Pending         Pending           `json:"pending,omitzero"`
}

// Policy is one entry of a vault's access policies.
type Policy struct {
	TenantID      string      `json:"tenantId"`
	ObjectID      string      `json:"objectId"`
	ApplicationID string      `json:"applicationId,omitempty"`
	Permissions   Permissions `json:"permissions"`
}

// Permissions are the verbs of a Policy, by kind of object, in the spelling they were given.
type Permissions struct {
	Keys         []string `json:"keys,omitempty"`
	Secrets      []string `json:"secrets,omitempty"`
	Certificates []string `json:"certificates,omitempty"`
	Storage      []string `json:"storage,omitempty"`
}

// Key is a key with its versions, oldest first. It always has one.
type Key struct {
	Name     string        `json:"name"`
	Versions []*KeyVersion `json:"versions"`
	Deleted  *time.Time    `json:"deleted,omitempty"` // soft-deleted since
}

// Current is the newest version: what a versionless request means.
func (k *Key) Current() *KeyVersion { return k.Versions[len(k.Versions)-1] }

// KeyVersion is one RSA key pair. The private half lies in a file of its own, named for ID (Store.PrivateKey).
type KeyVersion struct {
	ID        string            `json:"id"`  // 32 hexadecimal digits
	Type      string            `json:"kty"` // RSA or RSA-HSM
	Ops       []string          `json:"ops"`
	Enabled   bool              `json:"enabled"`
	NotBefore *int64            `json:"nbf,omitempty"` // Unix seconds, like the other times of a key
	Expires   *int64            `json:"exp,omitempty"`
	Created   int64             `json:"created"`
	Updated   int64             `json:"updated"`
	Tags      map[string]string `json:"tags,omitempty"`
	N         string            `json:"n"` // public half: unpadded base64url, as a JWK has it
	E         string            `json:"e"`
}

// Cluster is an AKS managed cluster, as far as onboarding looks at one.
type Cluster struct {
	Group            string            `json:"group"`
	Name             string            `json:"name"`
	Location         string            `json:"location"`
	Tags             map[string]string `json:"tags,omitempty"`
	Properties       map[string]any    `json:"properties,omitempty"` // as they were put, less what the fields below hold
	OIDC             bool              `json:"oidc"`
	WorkloadIdentity bool              `json:"workloadIdentity"`
	Pending          Pending           `json:"pending,omitzero"`
}

// Assignment is a role assignment. Scope and ID are resource ids in the spelling they were given.
type Assignment struct {
	ID            string `json:"id"`
	Name          string `json:"name"`
	Scope         string `json:"scope"`
	PrincipalID   string `json:"principalId"`
	PrincipalType string `json:"principalType,omitempty"`
	RoleID        string `json:"roleId"` // the role definition's GUID
}

// Fold gives the key form of a name or id: Azure compares them without regard to case.
func Fold(name string) string { return strings.ToLower(name) }

// GroupedID is the key of a resource that is named within its group.
func GroupedID(group, name string) string { return Fold(group) + "/" + Fold(name) }

// Issuer is the URL that the local cluster's service-account tokens name, with the trailing slash that AKS has.
func (s *State) Issuer() string {
	return "https://" + s.Region + ".oic.prod-aks.azure.com/" + s.Tenant + "/" + s.IssuerID + "/"
}

// Vault returns the live vault of that name, or nil.
func (s *State) Vault(name string) *Vault {
	if v := s.Vaults[Fold(name)]; v != nil && v.Deleted == nil {
		return v
	}
	return nil
}

// Key returns the vault's live key of that name, or nil.
func (v *Vault) Key(name string) *Key {
	if k := v.Keys[Fold(name)]; k != nil && k.Deleted == nil {
		return k
	}
	return nil
}

// Version returns the key's version with that id, the current one for an empty id, or nil.
func (k *Key) Version(id string) *KeyVersion {
	if id == "" {
		return k.Current()
	}
	for _, v := range k.Versions {
		if strings.EqualFold(v.ID, id) {
			return v
		}
	}
	return nil
}

// ByClient returns the identity with that client id, or nil.
func (s *State) ByClient(clientID string) *Identity {
	for _, identity := range s.Identities {
		if strings.EqualFold(identity.ClientID, clientID) {
			return identity
		}
	}
	return nil
}
