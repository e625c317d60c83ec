package provision

import (
	"fmt"
	"strings"

	"github.com/sluice-gitops/sluice/internal/azure/arm"
	"github.com/sluice-gitops/sluice/internal/fault"
)

// Action is what a step does.
type Action string

// The actions.
const (
	Keep     Action = "keep"     // it is as wanted
	Create   Action = "create"   // it is not there
	Update   Action = "update"   // it is there and differs
	Await    Action = "await"    // Azure is making it now, for an earlier run or another one
	Recover  Action = "recover"  // it was deleted, and comes back with what it held
	Register Action = "register" // the subscription may not use this kind of resource yet
	Grant    Action = "grant"    // it lacks a permission
)

// Step is one resource and what is to be done about it.
type Step struct {
	ID      string   `json:"step"` // stable: provider/…, group, cluster, identity, federation, vault, access/…, key
	Action  Action   `json:"action"`
	What    string   `json:"what"` // the resource, for people
	Why     string   `json:"why"`
	Changes []string `json:"changes,omitempty"` // of an update: property: from → to
	Asks    bool     `json:"asks,omitempty"`    // it changes something that may not be ours: ask first
}

// Plan is the steps in the order in which each needs the earlier ones.
type Plan []Step

// Changes counts the steps that do something.
func (p Plan) Changes() int {
	n := 0
	for _, s := range p {
		if s.Action != Keep {
			n++
		}
	}
	return n
}

// Asks gives the steps that want a yes first.
func (p Plan) Asks() Plan {
	var out Plan
	for _, s := range p {
		if s.Asks {
			out = append(out, s)
		}
	}
	return out
}

// Decide compares what is wanted with what is there. It is pure. What cannot be had is a fault: nothing is done then.
func Decide(s Spec, st *State) (Plan, error) {
	s = s.withDefaults(st.Subscription)
	if err := impossible(s, st); err != nil {
		return nil, err
	}
	var p Plan
	for _, n := range namespaces {
		p = append(p, provider(n, st.Providers[n]))
	}
	group := Step{ID: "group", What: "resource group " + s.Group, Action: Create, Why: "there is none of that name"}
	if st.Group != nil {
		group.Action, group.Why = Keep, "it is there, in "+st.Group.Location
	}
	cluster := clusterStep(s, st.Cluster)
	identity := Step{ID: "identity", What: "identity " + s.Identity, Action: Create, Why: "there is none of that name"}
	if st.Identity != nil {
		identity.Action, identity.Why = Keep, "it is there, with client id "+st.Identity.ClientID
	}
	p = append(p, group, cluster, identity, federationStep(s, st), vaultStep(s, st))
	principal := ""
	if st.Identity != nil {
		principal = st.Identity.PrincipalID
	}
	p = append(p, accessStep(s, st, "access/controller", "the controller's identity", principal, controllerPermissions),
		accessStep(s, st, "access/person", "you", st.Person.ObjectID, s.PersonPermissions), keyStep(s, st))
	return p, nil
}

func provider(namespace, state string) Step {
	out := Step{ID: "provider/" + namespace, What: "resource provider " + namespace, Action: Keep, Why: "it is registered"}
	switch state {
	case arm.Registered:
	case "Registering":
		out.Action, out.Why = Await, "it is being registered"
	default:
		out.Action, out.Why = Register, "the subscription has not used it yet"
	}
	return out
}

func clusterStep(s Spec, c *arm.Cluster) Step {
	out := Step{ID: "cluster", What: "AKS cluster " + s.Cluster, Action: Keep}
	switch {
	case c == nil:
		out.Action, out.Why = Create, fmt.Sprintf("there is none of that name in the group: %d × %s, with OIDC issuer and workload identity", s.Nodes, s.NodeSize)
		return out
	case c.Busy():
		out.Action, out.Why = Await, "Azure says "+c.State
		return out
	}
	for _, f := range []struct {
		property string
		on       bool
	}{{"oidcIssuerProfile.enabled", c.OIDC}, {"securityProfile.workloadIdentity.enabled", c.WorkloadIdentity}} {
		if !f.on {
			out.Changes = append(out.Changes, f.property+": false → true")
		}
	}
	switch {
	case out.Changes != nil:
		out.Action, out.Asks, out.Why = Update, true, "its service accounts' tokens are worth nothing at Entra ID without both"
	case c.State == "Failed":
		out.Action, out.Asks, out.Why = Update, true, "the last change of it failed; it is put again as it stands"
	default:
		out.Why = "it has an OIDC issuer and workload identity"
	}
	return out
}

func federationStep(s Spec, st *State) Step {
	issuer := ""
	if st.Cluster != nil {
		issuer = st.Cluster.Issuer
	}
	want := s.federation(issuer)
	out := Step{ID: "federation", What: "federated credential " + want.Name + " of identity " + s.Identity, Action: Create, Why: "the identity trusts nobody yet"}
	if len(st.Federations) > 0 {
		out.Why = "the identity does not trust " + want.Subject + " of this cluster"
	}
	for _, have := range st.Federations {
		switch {
		case issuer != "" && have.Same(want):
			return Step{ID: out.ID, What: "federated credential " + have.Name + " of identity " + s.Identity, Action: Keep, Why: "the identity trusts " + want.Subject}
		case have.Name == want.Name:
			out.Action, out.Asks, out.Why = Update, true, "Entra ID compares all three letter by letter with the token"
			out.Changes = differences(have, want)
		}
	}
	return out
}

func differences(have, want arm.Federation) []string {
	var out []string
	for _, f := range [][3]string{{"issuer", have.Issuer, want.Issuer}, {"subject", have.Subject, want.Subject}, {"audience", have.Audience, want.Audience}} {
		if f[2] == "" {
			f[2] = "the new cluster's"
		}
		if f[1] != f[2] {
			out = append(out, f[0]+": "+f[1]+" → "+f[2])
		}
	}
	return out
}

func vaultStep(s Spec, st *State) Step {
	mode := "access policies"
	if s.RBAC {
		mode = "role assignments"
	}
	out := Step{ID: "vault", What: "key vault " + s.Vault, Action: Create, Why: "there is none of that name: access by " + mode}
	switch {
	case st.Vault != nil && st.Vault.State == "RegisteringDns":
		out.Action, out.Why = Await, "its name is coming into DNS"
	case st.Vault != nil:
		out.Action, out.Why = Keep, "it is there, with access by "+mode
	case st.Deleted != nil:
		out.Action, out.Why = Recover, "it was deleted and can be recovered, with its keys"
	case !s.NoPurgeProtect:
		out.Why += ", with purge protection"
	}
	return out
}

func accessStep(s Spec, st *State, id, who, objectID string, permissions []string) Step {
	what, verb := "keys "+strings.Join(permissions, ", "), "access policy"
	has := st.Vault != nil && objectID != "" && st.Vault.Permits(objectID, permissions...)
	if s.RBAC {
		what, verb = "Key Vault Crypto User", "role"
		has = objectID != "" && st.Roles[objectID]
	}
	out := Step{ID: id, What: verb + " of " + who + " on the vault: " + what, Action: Grant, Why: "the vault gives " + who + " less than that"}
	if has {
		out.Action, out.Why = Keep, "the vault gives it"
	}
	return out
}

func keyStep(s Spec, st *State) Step {
	out := Step{ID: "key", What: "key " + s.Key + " of key vault " + s.Vault, Action: Create, Why: fmt.Sprintf("there is none of that name: RSA of %d bits", keyBits)}
	switch {
	case st.Key != nil:
		out.Action, out.Why = Keep, "it is there"
	case st.KeyDeleted:
		out.Action, out.Why = Recover, "it was deleted and can be recovered"
	case st.Deleted != nil:
		out.Action, out.Why = Await, "it comes back with the vault, if the vault had it; else it is made"
	}
	return out
}

// impossible finds what no step can mend.
func impossible(s Spec, st *State) error {
	object := "key vault " + s.Vault
	switch {
	case st.Group != nil && st.Group.State == "Deleting":
		return &fault.Fault{Code: "SLU-ARM-022", Hop: fault.HopARM, Object: "resource group " + s.Group, Seen: "the group is being deleted, with everything in it",
			Fix: "az group wait --deleted -n " + s.Group + ", and run it again"}
	case st.Vault != nil && st.Vault.RBAC != s.RBAC:
		return arm.OtherMode(*st.Vault)
	case st.Deleted != nil && !strings.EqualFold(st.Deleted.Group, s.Group):
		return &fault.Fault{Code: "SLU-ARM-026", Hop: fault.HopARM, Object: object, Seen: "a deleted vault of resource group " + st.Deleted.Group + " keeps the name",
			Why: "recovered, it would be back in that group", Fix: "choose another name with --vault; or " + purgeOrRecover(*st.Deleted)}
	case st.Deleted != nil && s.Location != "" && !strings.EqualFold(st.Deleted.Location, s.Location):
		return &fault.Fault{Code: "SLU-ARM-029", Hop: fault.HopARM, Object: object, Seen: "a deleted vault keeps the name, in " + st.Deleted.Location,
			Why: "recovered, it would be there and not in " + s.Location, Fix: "choose another name with --vault; or " + purgeOrRecover(*st.Deleted)}
	case st.Taken != "":
		return &fault.Fault{Code: "SLU-ARM-007", Hop: fault.HopARM, Object: object, Seen: "the name cannot be had: " + st.Taken,
			Why: "vault names are unique in the whole of Azure, and somebody has this one, or you have it in another resource group",
			Fix: "choose another name with --vault; az keyvault list --query \"[].{name:name,group:resourceGroup}\" -o table shows your own"}
	case len(st.Federations) >= arm.MostFederations && federationStep(s, st).Action == Create:
		return &fault.Fault{Code: "SLU-ARM-032", Hop: fault.HopARM, Object: "identity " + s.Identity, Seen: fmt.Sprintf("it has %d federated credentials", len(st.Federations)),
			Why: "an identity cannot have more", Fix: "az identity federated-credential list -g " + s.Group + " --identity-name " + s.Identity + " -o table, and delete one; or name another identity with --identity"}
	}
	return nil
}

func purgeOrRecover(v arm.DeletedVault) string {
	if v.PurgeProtection {
		return "az keyvault recover -n " + v.Name + " -l " + v.Location + " (it has purge protection)"
	}
	return "az keyvault purge -n " + v.Name + " -l " + v.Location + " (its keys, and what they sealed, are lost then)"
}
