package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/provision"
)

func newAzureShow(s Streams) *cobra.Command {
	f := &azureFlags{streams: s}
	cmd := &cobra.Command{Use: "show -g GROUP", Short: "Show what a resource group holds of the trust chain: ids, URLs and states", Args: none,
		Long: `Show lists the clusters, identities and vaults of a resource group with what the trust chain needs of them: issuer and
workload identity, client and principal ids, whom each identity trusts, key URLs and who may use them. It changes nothing.

` + exitCodes,
		Example: "  sluice azure show -g gitops\n  sluice azure show -g gitops -o json | jq -r '.identities[0].clientId'",
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := f.client(c)
			if err != nil {
				return err
			}
			inv, err := provision.Take(c.Context(), client, f.group)
			if err != nil {
				return err
			}
			if inv.Group == nil && len(inv.Deleted) == 0 {
				return noGroup(f.group)
			}
			if f.output == "json" {
				return f.json(inv)
			}
			f.print(inv)
			return nil
		}}
	f.add(cmd, false)
	return cmd
}

func noGroup(name string) error {
	return &fault.Fault{Code: "SLU-ARM-005", Hop: fault.HopARM, Object: "resource group " + name, Seen: "there is none of that name in the subscription", Exit: fault.ExitNo,
		Fix: "az group list -o table"}
}

// print writes one block for each resource.
func (f *azureFlags) print(inv *provision.Inventory) {
	out := f.streams.Out
	if g := inv.Group; g != nil {
		facts(out, [][2]string{{"resource group", g.Name + " in " + g.Location}, {"  state", g.State}, {"  id", g.ID}})
	}
	for _, c := range inv.Clusters {
		fmt.Fprintln(out)
		facts(out, [][2]string{{"cluster", c.Name}, {"  state", c.State}, {"  OIDC issuer", orElse(c.Issuer, onOff(c.OIDC))},
			{"  workload identity", onOff(c.WorkloadIdentity)}, {"  id", c.ID}})
	}
	for _, i := range inv.Identities {
		fmt.Fprintln(out)
		lines := [][2]string{{"identity", i.Name}, {"  client id", i.ClientID}, {"  principal id", i.PrincipalID}, {"  tenant id", i.TenantID}}
		for _, t := range i.Federations {
			lines = append(lines, [2]string{"  trusts", t.Subject + " of " + t.Issuer + " (" + t.Name + ")"})
		}
		facts(out, append(lines, [2]string{"  id", i.ID}))
	}
	for _, v := range inv.Vaults {
		fmt.Fprintln(out)
		facts(out, vaultLines(v))
	}
	for _, r := range inv.Others {
		fmt.Fprintf(out, "\nother  %s (%s)\n", r.Name, r.Type)
	}
	for _, d := range inv.Deleted {
		fmt.Fprintf(out, "\ndeleted vault  %s in %s, recoverable until %s\n", d.Name, d.Location, d.Purged.Format(time.DateOnly))
	}
}

func vaultLines(v provision.VaultItem) [][2]string {
	access := "by access policies"
	if v.RBAC {
		access = "by role assignments"
	}
	lines := [][2]string{{"key vault", v.Name}, {"  state", v.State}, {"  URL", v.URL}, {"  access", access}, {"  purge protection", onOff(v.PurgeProtection)}}
	if !v.RBAC {
		for _, a := range v.Access {
			lines = append(lines, [2]string{"  policy", a.ObjectID + ": keys " + strings.Join(a.Keys, ", ")})
		}
	}
	for _, k := range v.Keys {
		state := ""
		if !k.Enabled {
			state = " (disabled)"
		}
		lines = append(lines, [2]string{"  key", k.URL + state})
	}
	return append(lines, [2]string{"  id", v.ID})
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
