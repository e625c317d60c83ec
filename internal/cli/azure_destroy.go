package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sluice-gitops/sluice/internal/provision"
)

func newAzureDestroy(s Streams) *cobra.Command {
	f := &azureFlags{streams: s}
	var purge bool
	cmd := &cobra.Command{Use: "destroy -g GROUP", Short: "Delete a resource group with everything in it, after showing it", Args: none,
		Long: `Destroy shows what the resource group holds, asks for the group's name, and deletes the group with all of it, also what
provision did not make. Its vaults can be recovered for their retention time, by running provision again or by
az keyvault recover. With --purge they and their keys end for good: what was sealed for them can never be opened again.

` + exitCodes,
		Example: "  sluice azure destroy -g gitops",
		RunE:    func(c *cobra.Command, _ []string) error { return f.destroy(c, purge) }}
	f.add(cmd, true)
	cmd.Flags().BoolVar(&purge, "purge", false, "purge the vaults as well: their keys are lost for good")
	return cmd
}

func (f *azureFlags) destroy(c *cobra.Command, purge bool) error {
	client, err := f.client(c)
	if err != nil {
		return err
	}
	renderer, err := f.renderer(c)
	if err != nil {
		return err
	}
	defer renderer.Close()
	inv, err := provision.Take(c.Context(), client, f.group)
	if err != nil {
		return err
	}
	if inv.Group == nil && (!purge || len(inv.Deleted) == 0) {
		return noGroup(f.group)
	}
	if f.output == "text" {
		f.print(inv)
		fmt.Fprintln(f.streams.Out)
	}
	warning := "Everything above will be deleted; vaults stay recoverable."
	if purge {
		warning = "Everything above will be deleted, and the vaults purged: what was sealed for their keys can never be opened again."
	}
	fmt.Fprintln(f.streams.Err, warning)
	question := "Type the resource group's name to delete it: "
	if err := f.confirm("resource group "+f.group+" would be deleted", question, f.group); err != nil {
		return err
	}
	if err := provision.Destroy(c.Context(), client, inv, f.group, purge, renderer); err != nil {
		return err
	}
	if f.output == "json" {
		return f.json(map[string]any{"deleted": inv, "purged": purge})
	}
	return nil
}
