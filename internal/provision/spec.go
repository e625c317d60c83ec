// Package provision makes on Azure what Sluice needs to open secrets there: a resource group, an AKS cluster with an
// OIDC issuer and workload identity, an identity that trusts the controller's service account, a vault, a key, and
// access to it for that identity and for the person running the command. examples/aks/iac says the same in Bicep.
//
// It looks first (Observe), decides without a client or a clock what is to be done and why (Plan), and does it step by
// step (Apply). Each step looks again before it writes, so that a run that was killed, or that another one overtook, is
// ended by simply running it again. `sluice azure provision` and `sluice up` are its callers.
//
// It refuses to narrow what it finds: existing clusters keep everything else they have, vaults their mode and policies,
// keys their versions. Only Destroy deletes, and only a whole resource group that its caller has shown and asked about.
package provision

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"

	"github.com/sluice-gitops/sluice/internal/azure/arm"
	"github.com/sluice-gitops/sluice/internal/azure/cloud"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

// Audience is what a service account's token must be made out to for Entra ID to take it.
const Audience = cloud.TokenExchange

// What is made when nothing else is said: the names that examples/aks/iac uses.
const (
	DefaultLocation       = "westeurope"
	DefaultCluster        = "sluice-aks"
	DefaultIdentity       = "kustomize-controller-mi"
	DefaultKey            = "encryption-key"
	DefaultNamespace      = "flux-system"
	DefaultServiceAccount = "kustomize-controller"
	DefaultNodeSize       = "Standard_D2s_v5"
	DefaultNodes          = 2
	keyBits               = 3072
)

// controllerPermissions are what the controller's identity may do with keys: read the public half, and decrypt.
var controllerPermissions = []string{"get", "decrypt"}

// personPermissions are what sealing and reading secrets at a desk needs.
var personPermissions = []string{"get", "list", "encrypt", "decrypt"}

// Spec says what is wanted. Empty fields other than Group take their defaults.
type Spec struct {
	Group          string
	Location       string // of what is new; empty: the group's, or DefaultLocation for a new group
	Cluster        string
	NodeSize       string // of a new cluster's system nodes
	Nodes          int    // of a new cluster
	Identity       string
	Vault          string // empty: VaultName
	Key            string
	Namespace      string // of the controller
	ServiceAccount string // of the controller
	RBAC           bool   // give access by role assignments instead of access policies
	NoPurgeProtect bool   // leave a new vault without purge protection, so that it can be purged

	// PersonPermissions are the person's on keys, by access policy; nil: get, list, encrypt and decrypt.
	PersonPermissions []string
}

// VaultName is a vault's name that is unique in the whole of Azure for all that one can tell, and always the same for a
// group.
func VaultName(subscription, group string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(subscription + "/" + group)))
	return "kv-" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:])[:13])
}

func (s Spec) withDefaults(subscription string) Spec {
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&s.Cluster, DefaultCluster)
	set(&s.NodeSize, DefaultNodeSize)
	set(&s.Identity, DefaultIdentity)
	set(&s.Vault, VaultName(subscription, s.Group))
	set(&s.Key, DefaultKey)
	set(&s.Namespace, DefaultNamespace)
	set(&s.ServiceAccount, DefaultServiceAccount)
	if s.Nodes == 0 {
		s.Nodes = DefaultNodes
	}
	if s.PersonPermissions == nil {
		s.PersonPermissions = personPermissions
	}
	return s
}

// federation is the credential by which the identity trusts the controller's service account in the cluster of issuer.
func (s Spec) federation(issuer string) arm.Federation {
	return arm.Federation{
		Name: s.Namespace + "-" + s.ServiceAccount, Issuer: issuer, Audience: Audience,
		Subject: "system:serviceaccount:" + s.Namespace + ":" + s.ServiceAccount,
	}
}

// names are the rules that Azure has for names, checked before anything is sent.
var names = []struct {
	what, flag string
	of         func(Spec) string
	rule       *lazyregexp.Regexp
	words      string
}{
	{"resource group", "--resource-group", func(s Spec) string { return s.Group }, lazyregexp.New(`^[\p{L}\p{N}_().-]{0,89}[\p{L}\p{N}_()-]$`), "1 to 90 letters, digits, _ ( ) . and -, and no . at the end"},
	{"cluster", "--cluster", func(s Spec) string { return s.Cluster }, lazyregexp.New(`^[a-zA-Z0-9]$|^[a-zA-Z0-9][a-zA-Z0-9_-]{0,61}[a-zA-Z0-9]$`), "1 to 63 letters, digits, _ and -"},
	{"identity", "--identity", func(s Spec) string { return s.Identity }, lazyregexp.New(`^[a-zA-Z0-9][a-zA-Z0-9_-]{2,127}$`), "3 to 128 letters, digits, _ and -"},
	{"vault", "--vault", func(s Spec) string { return s.Vault }, lazyregexp.New(`^[a-zA-Z](-?[a-zA-Z0-9]){2,23}$`), "3 to 24 letters, digits and single hyphens, a letter first"},
	{"key", "--key", func(s Spec) string { return s.Key }, lazyregexp.New(`^[0-9a-zA-Z-]{1,127}$`), "1 to 127 letters, digits and -"},
	{"namespace and service account", "--namespace and --service-account", func(s Spec) string { return s.Namespace + "-" + s.ServiceAccount }, lazyregexp.New(`^[a-z0-9][a-z0-9-]{2,119}$`), "lower-case letters, digits and -, 119 together"},
}

// check refuses names that Azure would refuse, all at once.
func (s Spec) check() error {
	var wrong, flags []string
	for _, n := range names {
		if v := n.of(s); !n.rule.MatchString(v) || n.what == "vault" && len(v) > 24 {
			wrong = append(wrong, fmt.Sprintf("%s %q: %s", n.what, v, n.words))
			flags = append(flags, n.flag)
		}
	}
	if wrong == nil {
		return nil
	}
	return &fault.Fault{Code: "SLU-USAGE-040", Hop: fault.HopUsage, Seen: "Azure takes no such name", Why: strings.Join(wrong, "; "), Fix: "give another one with " + strings.Join(flags, ", ")}
}
