package provision

import (
	"context"
	"fmt"
	"strings"

	"github.com/sluice-gitops/sluice/internal/azure/arm"
	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/fault"
)

// Result is what stands after a run, and what its user needs next.
type Result struct {
	Subscription   string         `json:"subscriptionId"`
	Tenant         string         `json:"tenantId"`
	Group          string         `json:"resourceGroup"`
	Location       string         `json:"location"`
	Cluster        arm.Cluster    `json:"cluster"`
	Identity       arm.Identity   `json:"identity"`
	Federation     arm.Federation `json:"federatedCredential"`
	Vault          string         `json:"vaultUrl"`
	KeyURL         string         `json:"keyUrl"`  // with its version: what sops's --azure-kv takes
	Changed        int            `json:"changed"` // steps that changed something
	RBAC           bool           `json:"rbac"`
	NewRole        bool           `json:"newRole,omitempty"` // a role was given just now, and takes minutes to be known everywhere
	Namespace      string         `json:"namespace"`
	ServiceAccount string         `json:"serviceAccount"`
}

// run is one application of a plan: what the later steps need of the earlier ones.
type run struct {
	c      *arm.Client
	spec   Spec
	state  *State
	result Result
}

// Apply carries out a plan and tells of every step that does something. When it ends with an error, what was made
// stays, and a further run goes on from there.
func Apply(ctx context.Context, c *arm.Client, s Spec, st *State, p Plan, sink event.Sink) (*Result, error) {
	s = s.withDefaults(c.Subscription())
	r := &run{c: c, spec: s, state: st, result: Result{
		Subscription: c.Subscription(), Tenant: st.Person.TenantID, Group: s.Group, Location: s.Location, RBAC: s.RBAC,
		Namespace: s.Namespace, ServiceAccount: s.ServiceAccount,
	}}
	if r.result.Location == "" {
		r.result.Location = DefaultLocation
		if st.Group != nil {
			r.result.Location = st.Group.Location
		}
	}
	r.adopt()
	for _, step := range p {
		if step.Action == Keep {
			continue
		}
		progress := event.Start(sink, step.ID, string(step.Action)+" "+step.What)
		changed, detail, err := r.do(ctx, step)
		if err != nil {
			progress.Fail(err)
			return nil, err
		}
		if changed {
			r.result.Changed++
		} else if step.Action != Await {
			detail += " (somebody else was first)"
		}
		progress.Done(detail)
	}
	return &r.result, nil
}

// adopt takes over what the state has already.
func (r *run) adopt() {
	if r.state.Cluster != nil {
		r.result.Cluster = *r.state.Cluster
	}
	if r.state.Identity != nil {
		r.result.Identity = *r.state.Identity
	}
	if r.state.Vault != nil {
		r.result.Vault = r.state.Vault.URL
	}
	if r.state.Key != nil {
		r.result.KeyURL = r.state.Key.URL
	}
	r.result.Federation = r.spec.federation(r.result.Cluster.Issuer)
	for _, have := range r.state.Federations {
		if have.Same(r.result.Federation) {
			r.result.Federation = have
		}
	}
}

func (r *run) do(ctx context.Context, step Step) (changed bool, detail string, err error) {
	s, c := r.spec, r.c
	switch step.ID {
	case "group":
		changed, err = c.EnsureGroup(ctx, s.Group, r.result.Location)
		return changed, r.result.Location, err
	case "cluster":
		return r.cluster(ctx, step)
	case "identity":
		r.result.Identity, changed, err = c.EnsureIdentity(ctx, s.Group, s.Identity, r.result.Location)
		return changed, r.result.Identity.ClientID, err
	case "federation":
		r.result.Federation = s.federation(r.result.Cluster.Issuer)
		changed, err = c.EnsureFederatedCredential(ctx, s.Group, s.Identity, r.result.Federation)
		return changed, r.result.Federation.Subject, err
	case "vault":
		return r.vault(ctx)
	case "access/controller":
		return r.access(ctx, r.result.Identity.PrincipalID, "ServicePrincipal", controllerPermissions)
	case "access/person":
		return r.access(ctx, r.state.Person.ObjectID, r.state.Person.Type, s.PersonPermissions)
	case "key":
		var id keyvault.KeyID
		id, changed, err = c.EnsureKey(ctx, s.Group, s.Vault, s.Key, keyBits)
		r.result.KeyURL = id.String()
		return changed, r.result.KeyURL, err
	}
	for _, n := range namespaces {
		if step.ID == "provider/"+n {
			changed, err = c.EnsureProvider(ctx, n)
			return changed, arm.Registered, err
		}
	}
	return false, "", fmt.Errorf("there is no step %q", step.ID)
}

// cluster brings the cluster to an OIDC issuer and workload identity. A plan that found it changing is decided anew
// once it stands still; what needs asking then is left to the next run.
func (r *run) cluster(ctx context.Context, step Step) (changed bool, detail string, err error) {
	s := r.spec
	var got *arm.Cluster
	switch step.Action {
	case Create:
		changed = true
		got, err = r.c.CreateCluster(ctx, s.Group, arm.ClusterSpec{Name: s.Cluster, Location: r.result.Location, NodeSize: s.NodeSize, Nodes: int32(s.Nodes)})
	case Update:
		changed = true
		got, err = r.c.FederateCluster(ctx, s.Group, s.Cluster)
	default:
		got, err = r.c.AwaitCluster(ctx, s.Group, s.Cluster)
	}
	if f := fault.From(err); f != nil {
		named := *f
		named.Fix = strings.ReplaceAll(f.Fix, "LOCATION", r.result.Location)
		err = &named
	}
	if err != nil {
		return changed, "", err
	}
	if got == nil || clusterStep(s, got).Action != Keep || got.Issuer == "" {
		return changed, "", &fault.Fault{Code: "SLU-ARM-033", Hop: fault.HopARM, Object: "managed cluster " + s.Cluster, Seen: "it is not as wanted after Azure was done with it",
			Why: "another change of it came in between", Fix: "sluice azure provision -g " + s.Group + " --cluster " + s.Cluster + " --dry-run"}
	}
	r.result.Cluster = *got
	return changed, got.Issuer, nil
}

func (r *run) vault(ctx context.Context) (changed bool, detail string, err error) {
	v, changed, err := r.c.EnsureVault(ctx, r.spec.Group, arm.VaultSpec{
		Name: r.spec.Vault, Location: r.vaultLocation(), TenantID: r.state.Person.TenantID, RBAC: r.spec.RBAC, PurgeProtection: !r.spec.NoPurgeProtect,
	})
	if err != nil {
		return changed, "", err
	}
	r.result.Vault, r.state.Vault = v.URL, &v
	return changed, v.URL, nil
}

// vaultLocation is where the vault is to be; a deleted one comes back where it was.
func (r *run) vaultLocation() string {
	if r.state.Deleted != nil {
		return r.state.Deleted.Location
	}
	return r.result.Location
}

func (r *run) access(ctx context.Context, objectID, kind string, permissions []string) (changed bool, detail string, err error) {
	if r.spec.RBAC {
		changed, err = r.c.EnsureRole(ctx, r.state.Vault.ID, objectID, kind, arm.CryptoUser)
		r.result.NewRole = r.result.NewRole || changed
		return changed, "object id " + objectID, err
	}
	changed, err = r.c.EnsureAccess(ctx, r.spec.Group, r.spec.Vault, r.state.Person.TenantID, objectID, permissions...)
	return changed, "object id " + objectID, err
}

// Run is Observe, Decide and Apply, for callers with nobody to ask.
func Run(ctx context.Context, c *arm.Client, s Spec, sink event.Sink) (*Result, error) {
	st, err := Observe(ctx, c, s)
	if err != nil {
		return nil, err
	}
	p, err := Decide(s, st)
	if err != nil {
		return nil, err
	}
	return Apply(ctx, c, s, st, p, sink)
}
