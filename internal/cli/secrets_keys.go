package cli

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/secrets"
	"github.com/sluice-gitops/sluice/internal/secrets/check"
	"github.com/sluice-gitops/sluice/internal/secrets/keys"
)

func newSecretsKeys(s Streams) *cobra.Command {
	cmd := &cobra.Command{Use: "keys", Short: "Keep public keys of Key Vault in the repository", Args: none,
		RunE: func(c *cobra.Command, _ []string) error { return usage(c, errors.New("keys what: fetch or list")) }}
	var dir string
	cmd.PersistentFlags().StringVar(&dir, "dir", "", "folder of the keys; default: the nearest "+keys.Folder+" above, else one at the root of the Git work tree")
	var verify bool
	fetch := &cobra.Command{Use: "fetch [URL...]", Short: "Store the public halves of Key Vault keys",
		Long: `Fetch asks Key Vault for public keys, which needs the permission keys/get once, and stores them in ` + keys.Folder + `. From then
on encrypt needs neither network nor permission. A URL without version means the newest one.

With --check nothing is stored: the stored keys are compared with the vault's, and a stale or different one is exit code 1.`,
		Example: "  sluice secrets keys fetch https://my-vault.vault.azure.net/keys/sops\n  sluice secrets keys fetch --check",
		RunE: func(c *cobra.Command, args []string) error {
			at, err := keysDir(c.Context(), dir)
			if err != nil {
				return err
			}
			_, person, err := s.person("")
			if err != nil {
				return err
			}
			vault := keyvault.New(person.Azure, keyvault.Options{})
			switch {
			case verify && len(args) > 0:
				return usage(c, errors.New("--check is about the stored keys and takes no URL"))
			case verify:
				return s.compareKeys(c.Context(), vault, at)
			case len(args) == 0:
				return usage(c, errors.New("fetch takes URLs of keys"))
			}
			return s.fetchKeys(c.Context(), vault, at, args)
		}}
	fetch.Flags().BoolVar(&verify, "check", false, "compare what is stored with the vault, and store nothing")
	list := &cobra.Command{Use: "list", Short: "Show the stored keys", Args: none,
		RunE: func(c *cobra.Command, _ []string) error {
			at, err := keysDir(c.Context(), dir)
			if err != nil {
				return err
			}
			return s.listKeys(at)
		}}
	cmd.AddCommand(fetch, list)
	return cmd
}

// keysDir is where keys lie or are to lie.
func keysDir(ctx context.Context, given string) (string, error) {
	if given != "" {
		return given, nil
	}
	if dir, ok := keys.Find("."); ok {
		return dir, nil
	}
	tree, err := check.NewTree(ctx, ".", false)
	if err != nil {
		return "", err
	}
	return filepath.Join(tree.Root, filepath.FromSlash(keys.Folder)), nil
}

func (s Streams) fetchKeys(ctx context.Context, vault keys.Vault, dir string, urls []string) error {
	var ids []keyvault.KeyID
	for _, u := range urls {
		id, err := keyvault.ParseKeyID(u)
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	for _, id := range ids {
		k, err := keys.Fetch(ctx, vault, id, time.Now())
		if err != nil {
			return err
		}
		path, changed, err := keys.Save(dir, k)
		if err != nil {
			return err
		}
		note := "stored"
		if !changed {
			note = "already there"
		}
		fmt.Fprintf(s.Out, "%s\t%s\t%s\n", k.ID, note, secrets.Shown(path))
	}
	return nil
}

func (s Streams) compareKeys(ctx context.Context, vault keys.Vault, dir string) error {
	stored, err := keys.List(dir)
	if err != nil {
		return err
	}
	diff, err := keys.Compare(ctx, vault, stored)
	if err != nil {
		return err
	}
	for _, d := range diff {
		fmt.Fprintf(s.Out, "%s\t%s\n  why  %s\n  fix  %s\n", d.Key.ID, d.Seen, d.Why, d.Fix)
	}
	if len(diff) > 0 {
		return &fault.Fault{Code: "SLU-KEYS-003", Hop: fault.HopKey, Seen: fmt.Sprintf("%d of %d stored keys differ from the vault's", len(diff), len(stored)), Exit: fault.ExitNo,
			Fix: "each line above names its own"}
	}
	fmt.Fprintf(s.Err, "%d stored keys are the vault's newest\n", len(stored))
	return nil
}

func (s Streams) listKeys(dir string) error {
	stored, err := keys.List(dir)
	if err != nil {
		return err
	}
	if len(stored) == 0 {
		return &fault.Fault{Code: "SLU-KEYS-004", Hop: fault.HopKey, File: dir, Seen: "there is no stored key", Exit: fault.ExitNo, Fix: "sluice secrets keys fetch <key URL>"}
	}
	t := table{headers: []string{"key", "thumbprint", "fetched"}}
	for _, k := range stored {
		t.rows = append(t.rows, []string{k.ID, k.Thumbprint, k.Fetched.Format(time.RFC3339)})
	}
	t.print(s.Out, true)
	return nil
}

// storedKeys are the public keys that the repository keeps, for encrypting without network and permission.
func storedKeys() (map[keyvault.KeyID]*rsa.PublicKey, error) {
	dir, ok := keys.Find(".")
	if !ok {
		return nil, nil
	}
	return keys.Load(dir)
}
