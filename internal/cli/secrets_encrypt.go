package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/sluice-gitops/sluice/internal/secrets"
	"github.com/sluice-gitops/sluice/internal/secrets/files"
	"github.com/sluice-gitops/sluice/internal/sops"
)

func newSecretsEncrypt(s Streams) *cobra.Command {
	f := &secretsFlags{streams: s}
	var like string
	cmd := &cobra.Command{Use: "encrypt [FILE|FOLDER|GLOB]...", Aliases: []string{"e"}, Short: "Encrypt files for the recipients of .sops.yaml or of the command line",
		Long: `Encrypt seals the values of files, and leaves keys and structure readable. Recipients and the choice of values come
from the flags, else from .sops.yaml. A Kubernetes Secret that no rule speaks of gets ^(data|stringData)$.

In folders, what is sealed already, Kubernetes manifests without a Secret, and files that no rule covers are passed over.

--like seals under the data key of another file, for its recipients: one unwrapping opens both. Whoever gets hold of that
key then reads both, and a recipient can only be shut out of both together.`,
		Example: `  sluice secrets encrypt --azure-kv https://my-vault.vault.azure.net/keys/sops -i db.yaml
  sluice secrets encrypt -i apps/ 'clusters/**/*.env'
  cat .env | sluice secrets encrypt --filename-override prod.env > prod.env`,
		RunE: func(c *cobra.Command, args []string) error {
			return f.run(c.Context(), args, func(ctx context.Context, e *secrets.Engine, path string, data []byte, found bool) (secrets.Output, error) {
				if found && like != "" && path == like {
					return secrets.Output{}, nil
				}
				return e.Encrypt(ctx, path, data, found)
			})
		}}
	fl := f.common(cmd)
	f.out(fl)
	f.write(fl)
	f.recipients(fl)
	f.selects(fl)
	f.policy(fl)
	fl.StringVar(&like, "like", "", "seal under the data key of this file")
	f.prepare = func(ctx context.Context, e *secrets.Engine) (err error) {
		if like == "" {
			return nil
		}
		if e.Groups != nil {
			return conflicting(cmd, "--like takes the other file's recipients: name none")
		}
		file, err := files.Read(like)
		if err != nil {
			return err
		}
		e.Shared, err = e.SharedKey(ctx, like, file.Data)
		return err
	}
	return cmd
}

func newSecretsDecrypt(s Streams) *cobra.Command {
	f := &secretsFlags{streams: s}
	var extract string
	cmd := &cobra.Command{Use: "decrypt [FILE|FOLDER|GLOB]...", Aliases: []string{"d"}, Short: "Decrypt files, or one value of a file",
		Long: `Decrypt opens sealed files with the keys of whoever calls it, where sops looks for them, and verifies the MAC. In
folders, files that are not sealed are passed over. With --in-place the plaintext is written to the disk.`,
		Example: `  sluice secrets decrypt db.yaml
  sluice secrets decrypt --extract '["stringData"]["password"]' db.yaml`,
		RunE: func(c *cobra.Command, args []string) error {
			var path sops.TreePath
			if extract != "" {
				var err error
				if path, err = sops.ParseTreePath(extract); err != nil {
					return exitWith(usage(c, err), 91)
				}
			}
			return f.run(c.Context(), args, func(ctx context.Context, e *secrets.Engine, file string, data []byte, found bool) (secrets.Output, error) {
				return e.Decrypt(ctx, file, data, path, found)
			})
		}}
	fl := f.common(cmd)
	f.out(fl)
	f.write(fl)
	f.mac(fl)
	fl.StringVar(&extract, "extract", "", `only the value at this path: '["key"]["key"][0]'`)
	return cmd
}
