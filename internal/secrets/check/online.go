package check

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// Online asks vaults about the keys that documents are sealed with. Each key is asked about once, whatever the number of
// documents.
type Online struct {
	// State returns the state of a key's version, or of the newest one where id has none.
	State func(ctx context.Context, id keyvault.KeyID) (keyvault.State, error)
	Clock func() time.Time // nil: time.Now

	mu    sync.Mutex
	known map[keyvault.KeyID]func() (keyvault.State, error)
}

func (o *Online) state(ctx context.Context, id keyvault.KeyID) (keyvault.State, error) {
	o.mu.Lock()
	if o.known == nil {
		o.known = map[keyvault.KeyID]func() (keyvault.State, error){}
	}
	get := o.known[id]
	if get == nil {
		get = sync.OnceValues(func() (keyvault.State, error) { return o.State(ctx, id) })
		o.known[id] = get
	}
	o.mu.Unlock()
	return get()
}

func (o *Online) judge(ctx context.Context, name string, data []byte, doc *sops.Metadata) (out []Finding, err error) {
	if o == nil {
		return nil, nil
	}
	now := time.Now
	if o.Clock != nil {
		now = o.Clock
	}
	for _, k := range recipients(doc) {
		key, ok := k.(*recipient.AzureKV)
		if !ok {
			continue
		}
		id := keyvault.KeyID{Vault: key.VaultURL, Name: key.Name, Version: key.Version}
		found, err := o.key(ctx, name, lastLine(data, id.Version), id, now())
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

func (o *Online) key(ctx context.Context, name string, line int, id keyvault.KeyID, now time.Time) (out []Finding, err error) {
	rewrap := "sluice secrets rotate -i --outdated " + word(name)
	mine, err := o.state(ctx, id)
	if err != nil {
		return o.unreachable(ctx, name, line, id, err)
	}
	newest, err := o.state(ctx, keyvault.KeyID{Vault: id.Vault, Name: id.Name})
	if err != nil {
		return o.unreachable(ctx, name, line, id, err)
	}
	if newest.ID.Version != id.Version {
		out = append(out, finding(StaleKey, name, line, "it is sealed with version "+id.Version+" of "+id.Name,
			"the newest is "+newest.ID.Version, rewrap))
	}
	if !mine.Enabled {
		out = append(out, finding(DisabledKey, name, line, "version "+id.Version+" of "+id.Name+" is disabled",
			"nobody can decrypt the file", fmt.Sprintf("az keyvault key set-attributes --id %s --enabled true, then %s", id, rewrap)))
	}
	if !mine.Expires.IsZero() && mine.Expires.Before(now) {
		out = append(out, finding(ExpiredKey, name, line, "version "+id.Version+" of "+id.Name+" expired at "+mine.Expires.UTC().Format(time.RFC3339),
			"the vault decrypts with it, and encrypts no longer", rewrap))
	}
	return out, nil
}

func (o *Online) unreachable(ctx context.Context, name string, line int, id keyvault.KeyID, err error) ([]Finding, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	f := fault.From(err)
	if f == nil {
		return nil, err
	}
	return []Finding{finding(Unreachable, name, line, "the state of "+id.String()+" is not known: "+f.Seen, f.Why, f.Fix)}, nil
}
