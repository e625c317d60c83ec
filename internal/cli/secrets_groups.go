package cli

import (
	"context"
	"errors"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/sluice-gitops/sluice/internal/secrets"
)

// newSecretsGroups changes the key groups of a file, of which as many are needed to open it as its threshold says.
func newSecretsGroups(s Streams) *cobra.Command {
	cmd := &cobra.Command{Use: "groups", Short: "Add or delete key groups of a file (Shamir's secret sharing)", Args: none,
		RunE: func(c *cobra.Command, _ []string) error { return usage(c, errors.New("groups what: add or delete")) }}
	cmd.AddCommand(newSecretsGroupsAdd(s), newSecretsGroupsDelete(s))
	return cmd
}

const groupsLong = `The data key is shared out anew among the groups that the file then has. Values stay as they are, and so does the data key:
who could open the file and kept the key still can, until sluice secrets rotate.`

func newSecretsGroupsAdd(s Streams) *cobra.Command {
	f, who, file := &secretsFlags{streams: s}, recipientFlags{}, ""
	cmd := &cobra.Command{Use: "add --file FILE", Short: "Add a key group", Long: groupsLong, Args: none,
		Example: "  sluice secrets groups add -i --file db.yaml --age age1… --shamir-secret-sharing-threshold 2",
		RunE: func(c *cobra.Command, _ []string) error {
			return f.regroup(c, file, func(ctx context.Context, e *secrets.Engine, path string, data []byte, _ bool) (secrets.Output, error) {
				g, err := who.keys()
				if err != nil {
					return secrets.Output{}, err
				}
				return e.AddGroup(ctx, path, data, g, f.shamir)
			})
		}}
	f.groups(cmd, &file)
	who.add(cmd.Flags(), "", "", "", "")
	return cmd
}

func newSecretsGroupsDelete(s Streams) *cobra.Command {
	f, file := &secretsFlags{streams: s}, ""
	cmd := &cobra.Command{Use: "delete --file FILE INDEX", Short: "Delete a key group, by its index from 0", Long: groupsLong, Args: exactly("INDEX"),
		Example: "  sluice secrets groups delete -i --file db.yaml 1",
		RunE: func(c *cobra.Command, args []string) error {
			index, err := strconv.Atoi(args[0])
			if err != nil {
				return usage(c, errors.New("INDEX is a number, from 0"))
			}
			return f.regroup(c, file, func(ctx context.Context, e *secrets.Engine, path string, data []byte, _ bool) (secrets.Output, error) {
				return e.DeleteGroup(ctx, path, data, index, f.shamir)
			})
		}}
	f.groups(cmd, &file)
	return cmd
}

func (f *secretsFlags) groups(cmd *cobra.Command, file *string) {
	fl := f.common(cmd)
	f.out(fl)
	f.policy(fl)
	fl.BoolVarP(&f.inPlace, "in-place", "i", false, "write the result back into the file")
	fl.StringVarP(file, "file", "f", "", "the file to change")
	fl.IntVar(&f.shamir, "shamir-secret-sharing-threshold", 0, "how many key groups are needed to open the file (default: as before)")
}

func (f *secretsFlags) regroup(c *cobra.Command, file string, do verb) error {
	if file == "" {
		return noFile(c, "name the file: --file FILE")
	}
	return f.run(c.Context(), []string{file}, do)
}
