package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/secrets"
	"github.com/sluice-gitops/sluice/internal/secrets/keys"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

func newSecretsRotate(s Streams) *cobra.Command {
	f := &secretsFlags{streams: s}
	var (
		add, rm                       recipientFlags
		together, outdated, reencrypt bool
		offline                       bool
	)
	cmd := &cobra.Command{Use: "rotate FILE|FOLDER|GLOB...", Aliases: []string{"r"}, Short: "Give files a new data key, add and take away recipients",
		Long: `Rotate encrypts every value of a sealed file again, under a new data key, which is wrapped for its recipients.

--share-data-key puts all files that have the same recipients under one new data key: a whole repository then opens after
one unwrapping. Each is still an ordinary SOPS file. What that trades: whoever gets hold of the data key of one file reads
them all, somebody who can write to the repository can put one sealed file in another's place without being noticed, and
to shut a recipient out all of them must be rotated, together.

--outdated is for the time after a Key Vault key was rotated: files that are still under an old version get their data
key wrapped for the newest. Values and data key stay, unless --re-encrypt is given. Run again, it goes on where it
stopped. --offline takes the keys of .sluice/keys for the newest, and asks no vault what they are; to open a data key that
a vault alone holds, that vault is still asked.`,
		Example: `  sluice secrets rotate -i --add-age age1… --rm-pgp 85D77543B3D624B63CEA9E6DBC17301B491B3F21 db.yaml
  sluice secrets rotate -i --share-data-key apps/
  sluice secrets rotate -i --outdated .`,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return noFile(c, "rotate takes files, folders or globs")
			}
			if outdated && together || (reencrypt || offline) && !outdated {
				return conflicting(c, "--outdated and --share-data-key exclude each other, and --re-encrypt and --offline belong to --outdated")
			}
			if outdated {
				newest := (&newestKeys{flags: f}).of
				if offline {
					var err error
					if newest, err = storedNewest(); err != nil {
						return err
					}
				}
				return f.run(c.Context(), args, func(ctx context.Context, e *secrets.Engine, path string, data []byte, found bool) (secrets.Output, error) {
					return e.RotateOutdated(ctx, path, data, newest, reencrypt, found)
				})
			}
			r := secrets.Rotation{Add: add.keys, Remove: rm.keys}
			if together {
				r.Together = &secrets.Together{}
				defer r.Together.Forget()
			}
			err := f.run(c.Context(), args, func(ctx context.Context, e *secrets.Engine, path string, data []byte, found bool) (secrets.Output, error) {
				return e.Rotate(ctx, path, data, r, found)
			})
			if together {
				fmt.Fprintf(s.Err, "data keys in all: %d\n", r.Together.Keys())
			}
			return err
		}}
	fl := f.common(cmd)
	f.out(fl)
	f.write(fl)
	f.mac(fl)
	f.policy(fl)
	add.add(fl, "add-", "", "", "")
	rm.add(fl, "rm-", "", "", "")
	fl.BoolVar(&together, "share-data-key", false, "put all files that have the same recipients under one data key")
	fl.BoolVar(&outdated, "outdated", false, "only wrap the data keys that are still under an old version of a Key Vault key")
	fl.BoolVar(&offline, "offline", false, "with --outdated: the newest versions are those in .sluice/keys")
	fl.BoolVar(&reencrypt, "re-encrypt", false, "with --outdated: give these files a new data key, too")
	return cmd
}

// keys parses the flags anew at each call: wrapping writes into what it returns.
func (w *recipientFlags) keys() (recipient.Group, error) {
	return w.list(func(string) string { return "" }).Keys()
}

// newestKeys asks for the newest version of each Key Vault key once.
type newestKeys struct {
	flags *secretsFlags
	once  onceEach[keyvault.KeyID]
}

func (n *newestKeys) of(ctx context.Context, id keyvault.KeyID) (keyvault.KeyID, error) {
	return n.once.do(id.String(), func() (keyvault.KeyID, error) {
		client := keyvault.New(n.flags.person.Azure, keyvault.Options{})
		newest, _, err := client.PublicKey(ctx, id)
		return newest, err
	})
}

// storedNewest gives the version of each key that was stored last, by sluice secrets keys fetch.
func storedNewest() (secrets.Newest, error) {
	dir, ok := keys.Find(".")
	if !ok {
		dir = keys.Folder
	}
	stored, err := keys.List(dir)
	if err != nil {
		return nil, err
	}
	return func(_ context.Context, id keyvault.KeyID) (keyvault.KeyID, error) {
		for _, k := range stored { // the last one fetched stands first
			if at := k.KeyID(); strings.EqualFold(at.Vault, id.Vault) && at.Name == id.Name {
				return at, nil
			}
		}
		return id, &fault.Fault{Code: "SLU-KEYS-005", Hop: fault.HopKey, Object: id.String(), Seen: "no version of the key is stored", Why: "--offline asks " + dir + " which version is the newest",
			Fix: "sluice secrets keys fetch " + id.String()}
	}, nil
}
