package provision

import (
	"context"
	"strings"

	"github.com/sluice-gitops/sluice/internal/azure/arm"
	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/fault"
)

// Destroy deletes a resource group with everything in it, and with purge its vaults for good. Its caller has shown the
// inventory and asked. Run again, it goes on where an interrupted run ended: a group that is gone leaves its vaults.
//
// With purge, a vault that Azure protects from it is a fault before anything is deleted.
func Destroy(ctx context.Context, c *arm.Client, inv *Inventory, group string, purge bool, sink event.Sink) error {
	if purge {
		for _, v := range inv.Vaults {
			if v.PurgeProtection {
				return protectedVault(v.Vault, group)
			}
		}
	}
	if inv.Group != nil {
		step := event.Start(sink, "group", "delete resource group "+group)
		if err := c.DeleteGroup(ctx, group); err != nil {
			step.Fail(err)
			return err
		}
		step.Done("")
	}
	if !purge {
		return nil
	}
	deleted, err := c.DeletedVaults(ctx)
	if err != nil {
		return err
	}
	for _, v := range deleted {
		if !strings.EqualFold(v.Group, group) {
			continue
		}
		step := event.Start(sink, "purge/"+v.Name, "purge key vault "+v.Name)
		if err := c.PurgeVault(ctx, v); err != nil {
			step.Fail(err)
			return err
		}
		step.Done("")
	}
	return nil
}

// protectedVault is what --purge meets before anything is deleted.
func protectedVault(v arm.Vault, group string) *fault.Fault {
	return &fault.Fault{Code: "SLU-ARM-027", Hop: fault.HopARM, Object: "key vault " + v.Name, Seen: "the vault has purge protection",
		Why: "Azure itself purges it when its retention ends, and nobody can before; until then it keeps its name",
		Fix: "sluice azure destroy -g " + group + " (without --purge)"}
}
