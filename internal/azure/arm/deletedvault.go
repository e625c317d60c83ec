package arm

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// DeletedVault is a vault that can still be recovered, and keeps its name until it is purged.
type DeletedVault struct {
	Name            string    `json:"name"`
	Group           string    `json:"resourceGroup"` // where it was, and is again once recovered
	Location        string    `json:"location"`
	PurgeProtection bool      `json:"purgeProtection"`
	Purged          time.Time `json:"scheduledPurgeDate"`
}

// DeletedVaults lists the deleted vaults of the subscription.
func (c *Client) DeletedVaults(ctx context.Context) ([]DeletedVault, error) {
	var all []DeletedVault
	for pager := c.vaults.NewListDeletedPager(nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, explain(err, "deleted vaults")
		}
		for _, v := range page.Value {
			if v == nil {
				continue
			}
			p := deref(v.Properties)
			_, rest, _ := strings.Cut(strings.ToLower(deref(p.VaultID)), "/resourcegroups/")
			group, _, _ := strings.Cut(rest, "/")
			all = append(all, DeletedVault{Name: deref(v.Name), Group: group, Location: deref(p.Location), PurgeProtection: deref(p.PurgeProtectionEnabled), Purged: deref(p.ScheduledPurgeDate)})
		}
	}
	return all, nil
}

// VaultNameTaken says why a vault of that name cannot be made; empty when it can.
func (c *Client) VaultNameTaken(ctx context.Context, name string) (string, error) {
	got, err := c.vaults.CheckNameAvailability(ctx, armkeyvault.VaultCheckNameAvailabilityParameters{Name: &name, Type: ref("Microsoft.KeyVault/vaults")}, nil)
	if err != nil {
		return "", explain(err, "key vault "+name)
	}
	if deref(got.NameAvailable) {
		return "", nil
	}
	return string(deref(got.Reason)), nil
}

// PurgeVault ends a deleted vault and its keys for good: what was sealed for them can never be opened again.
func (c *Client) PurgeVault(ctx context.Context, v DeletedVault) error {
	if v.PurgeProtection {
		return &fault.Fault{Code: "SLU-ARM-027", Hop: fault.HopARM, Object: "key vault " + v.Name, Seen: "the vault has purge protection",
			Why: fmt.Sprintf("Azure itself purges it on %s, and nobody can before; until then it keeps its name", v.Purged.Format(time.DateOnly)),
			Fix: "az keyvault recover -n " + v.Name + " -l " + v.Location + " (to have it back); or choose another vault name"}
	}
	poller, err := c.vaults.BeginPurgeDeleted(ctx, v.Name, v.Location, nil)
	if err == nil {
		_, err = poller.PollUntilDone(ctx, &runtime.PollUntilDoneOptions{Frequency: pollEvery})
	}
	if codeOf(err) == "DeletedVaultNotFound" {
		return nil
	}
	return explain(err, "key vault "+v.Name)
}
