package keyvault

import (
	"context"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
)

// State is what a vault says about a version of a key.
type State struct {
	ID      KeyID // with the version
	Enabled bool
	Expires time.Time // zero: never
}

// KeyState reads the attributes of a key's version, of the current one if id names none. It needs keys/get.
func (c *Client) KeyState(ctx context.Context, id KeyID) (State, error) {
	s := State{ID: id}
	err := c.call(ctx, id, opGet, func(keys *azkeys.Client) error {
		res, err := keys.GetKey(ctx, id.Name, id.Version, nil)
		if err != nil {
			return err
		}
		if res.Key != nil && res.Key.KID != nil {
			s.ID.Version = res.Key.KID.Version()
		}
		if a := res.Attributes; a != nil {
			s.Enabled = a.Enabled == nil || *a.Enabled
			if a.Expires != nil {
				s.Expires = *a.Expires
			}
		}
		return nil
	})
	return s, err
}
