package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-gitops/sluice/internal/provision"
)

type azureProvision struct {
	azureFlags
	spec          provision.Spec
	dryRun, purge bool
}

func newAzureProvision(s Streams) *cobra.Command {
	p := &azureProvision{azureFlags: azureFlags{streams: s}}
	cmd := &cobra.Command{Use: "provision -g GROUP", Short: "Make what Sluice needs on Azure, or bring it up to that", Args: none,
		Long: `Provision makes, where it is missing: the resource group; an AKS cluster with OIDC issuer and workload identity; an
identity, with a federated credential for the controller's service account; a vault with an RSA key; and access to the
key, for the identity to decrypt and for you to encrypt. What is there already is left as it is, and a run that was
interrupted is ended by running it again. An existing cluster without OIDC issuer or workload identity is changed only
after a yes.

It prints what it does and why on stderr, and on stdout the ids, the key's URL and what to do next. --dry-run prints the
plan and changes nothing. It signs in as the az command, or as AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET
say, and needs the role Contributor on the group or the subscription; with --rbac also Role Based Access Control
Administrator.

` + exitCodes,
		Example: "  sluice azure provision -g gitops --dry-run\n  sluice azure provision -g gitops -l westeurope",
		RunE:    func(c *cobra.Command, _ []string) error { return p.run(c) }}
	p.add(cmd, true)
	f := cmd.Flags()
	f.StringVarP(&p.spec.Location, "location", "l", "", "region of what is made (default: the group's; "+provision.DefaultLocation+" for a new group)")
	f.StringVar(&p.spec.Cluster, "cluster", provision.DefaultCluster, "the AKS cluster, new or existing")
	f.StringVar(&p.spec.NodeSize, "node-size", provision.DefaultNodeSize, "size of a new cluster's nodes")
	f.IntVar(&p.spec.Nodes, "nodes", provision.DefaultNodes, "number of a new cluster's nodes")
	f.StringVar(&p.spec.Identity, "identity", provision.DefaultIdentity, "the controller's identity")
	f.StringVar(&p.spec.Vault, "vault", "", "the vault, unique in all of Azure (default: kv- and 13 characters that follow from subscription and group)")
	f.StringVar(&p.spec.Key, "key", provision.DefaultKey, "the key in the vault")
	f.StringVar(&p.spec.Namespace, "namespace", provision.DefaultNamespace, "namespace of the controller")
	f.StringVar(&p.spec.ServiceAccount, "service-account", provision.DefaultServiceAccount, "service account of the controller")
	f.BoolVar(&p.spec.RBAC, "rbac", false, "give access by the role Key Vault Crypto User instead of access policies")
	f.BoolVar(&p.purge, "purge-protection", true, "keep a new vault from being purged before its 90 days are over; cannot be taken back")
	f.BoolVar(&p.dryRun, "dry-run", false, "print what would be changed and why, and change nothing")
	return cmd
}

func (p *azureProvision) run(c *cobra.Command) error {
	ctx := c.Context()
	client, err := p.client(c)
	if err != nil {
		return err
	}
	p.spec.Group, p.spec.NoPurgeProtect = p.group, !p.purge
	renderer, err := p.renderer(c)
	if err != nil {
		return err
	}
	defer renderer.Close()
	state, err := provision.Observe(ctx, client, p.spec)
	if err != nil {
		return err
	}
	plan, err := provision.Decide(p.spec, state)
	if err != nil {
		return err
	}
	if p.dryRun {
		return p.show(plan)
	}
	if asks := plan.Asks(); len(asks) > 0 {
		p.explain(asks)
		if err := p.confirm(fmt.Sprintf("%d existing resources would be changed", len(asks)), "Change this? (y/N) ", ""); err != nil {
			return err
		}
	}
	result, err := provision.Apply(ctx, client, p.spec, state, plan, renderer)
	if err != nil {
		return err
	}
	renderer.Close()
	if plan.Changes() == 0 && !p.quiet {
		fmt.Fprintf(p.streams.Err, "Nothing to do: all %d are as wanted.\n", len(plan))
	}
	if result.NewRole {
		fmt.Fprintln(p.streams.Err, "Roles given just now can take up to ten minutes to be known everywhere; until then the vault answers 403 ForbiddenByRbac.")
	}
	if p.output == "json" {
		return p.json(map[string]any{"steps": plan, "result": result})
	}
	p.print(result)
	return nil
}

// show prints a plan instead of carrying it out.
func (p *azureProvision) show(plan provision.Plan) error {
	if p.output == "json" {
		return p.json(map[string]any{"dryRun": true, "steps": plan})
	}
	t := table{headers: []string{"action", "what", "why"}}
	for _, s := range plan {
		t.rows = append(t.rows, []string{string(s.Action), s.What, strings.Join(append([]string{s.Why}, s.Changes...), "; ")})
	}
	t.print(p.streams.Out, true)
	fmt.Fprintf(p.streams.Err, "%d of %d would be changed; nothing was.\n", plan.Changes(), len(plan))
	return nil
}

// explain shows on stderr what is asked about.
func (p *azureProvision) explain(steps provision.Plan) {
	for _, s := range steps {
		fmt.Fprintf(p.streams.Err, "%s %s: %s\n", s.Action, s.What, s.Why)
		for _, change := range s.Changes {
			fmt.Fprintln(p.streams.Err, "  "+change)
		}
	}
}

func (p *azureProvision) print(r *provision.Result) {
	out := p.streams.Out
	facts(out, [][2]string{
		{"resource group", r.Group + " in " + r.Location}, {"cluster", r.Cluster.Name}, {"issuer", r.Cluster.Issuer},
		{"identity", r.Identity.Name}, {"client id", r.Identity.ClientID}, {"principal id", r.Identity.PrincipalID}, {"tenant id", r.Tenant},
		{"trusts", r.Federation.Subject}, {"key", r.KeyURL},
	})
	fmt.Fprintf(out, `
Next:
  az aks get-credentials -g %s -n %s
  sluice secrets encrypt --in-place --azure-kv %s SECRET.yaml
  sluice bootstrap git --url REPOSITORY --path ./gitops/aks --azure-client-id %s --azure-tenant-id %s
`, r.Group, r.Cluster.Name, r.KeyURL, r.Identity.ClientID, r.Tenant)
}
