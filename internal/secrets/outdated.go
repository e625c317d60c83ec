package secrets

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// Newest gives the newest version of a Key Vault key, as the vault or a stored public key tells it.
type Newest func(ctx context.Context, id keyvault.KeyID) (keyvault.KeyID, error)

// RotateOutdated wraps a file's data key for the newest version of each Key Vault key among its recipients. A file that is
// up to date stays as it is, so that an interrupted run is resumed by running it again. Values, MAC and data key stay,
// unless reencrypt is set, because a Key Vault rotation does not mean that a data key has leaked.
func (e *Engine) RotateOutdated(ctx context.Context, path string, data []byte, newest Newest, reencrypt, found bool) (Output, error) {
	in, out := e.formats(path)
	if found && !sops.IsEncrypted(e.name(path), data) {
		return Output{}, nil
	}
	if err := readable(path, data, in); err != nil {
		return Output{}, err
	}
	rule, ind, err := e.rule(path)
	if err != nil {
		return Output{}, err
	}
	d, err := sops.Parse(path, data, in)
	if err != nil {
		return Output{}, err
	}
	groups, changed, tell, err := e.renew(ctx, d.Metadata().KeyGroups, newest)
	if err != nil {
		return Output{}, err
	}
	if len(changed) == 0 {
		return Output{Did: "up to date"}, nil
	}
	m := *d.Metadata()
	m.KeyGroups = groups
	differs, err := e.enforce(path, rule, &m)
	if err != nil {
		return Output{}, err
	}
	tell = append(tell, differs...)
	o := sops.SealOptions{Recipients: groups, ShamirThreshold: m.ShamirThreshold, Wrap: e.Wrap, Path: path}
	if reencrypt {
		if err := d.Open(ctx, e.Keys, e.MAC); err != nil {
			return Output{}, err
		}
		key, err := sops.NewSharedKey(ctx, o)
		if err != nil {
			return Output{}, err
		}
		d.Rekey(key)
		sealed, err := d.Seal(out, ind, e.now())
		if err != nil {
			return Output{}, err
		}
		return e.result(path, rule, &m, data, sealed, out, "re-encrypted", tell)
	}
	if err := d.Rewrap(ctx, e.Keys, o, func(g, r int) bool { return !changed[[2]int{g, r}] }); err != nil {
		return Output{}, err
	}
	sealed, err := d.Emit(out, ind)
	if err != nil {
		return Output{}, err
	}
	return e.result(path, rule, &m, data, sealed, out, "re-wrapped", tell)
}

// renew replaces the recipients whose key has a newer version.
func (e *Engine) renew(ctx context.Context, groups []recipient.Group, newest Newest) (out []recipient.Group, changed map[[2]int]bool, tell []string, err error) {
	changed = map[[2]int]bool{}
	for i, g := range groups {
		g = slices.Clone(g)
		for j, k := range g {
			az, ok := k.(*recipient.AzureKV)
			if !ok {
				continue
			}
			id := keyvault.KeyID{Vault: strings.TrimSuffix(az.VaultURL, "/"), Name: az.Name, Version: az.Version}
			want, err := newest(ctx, keyvault.KeyID{Vault: id.Vault, Name: id.Name})
			if err != nil {
				return nil, nil, nil, err
			}
			if want.Version == "" || want.Version == id.Version {
				continue
			}
			g[j] = &recipient.AzureKV{VaultURL: az.VaultURL, Name: az.Name, Version: want.Version, CreationDate: e.now().UTC()}
			changed[[2]int{i, j}] = true
			tell = append(tell, fmt.Sprintf("%s: version %s → %s", id.Name, id.Version, want.Version))
		}
		out = append(out, g)
	}
	return out, changed, tell, nil
}
