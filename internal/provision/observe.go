package provision

import (
	"context"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/sluice-gitops/sluice/internal/azure/arm"
)

// namespaces are the resource providers of what is made.
var namespaces = []string{"Microsoft.ContainerService", "Microsoft.KeyVault", "Microsoft.ManagedIdentity"}

// State is what stands on Azure now of what a Spec names. nil is not there.
type State struct {
	Subscription string
	Person       arm.Principal
	Providers    map[string]string // registration state by namespace
	Group        *arm.Group
	Cluster      *arm.Cluster
	Identity     *arm.Identity
	Federations  []arm.Federation // of the identity
	Vault        *arm.Vault
	Deleted      *arm.DeletedVault // a vault of the name that can be recovered
	Taken        string            // why no vault of the name can be made; empty: one can, or is there
	Key          *arm.Key
	KeyDeleted   bool            // the vault keeps a deleted key of the name
	Roles        map[string]bool // object ids that have the role Key Vault Crypto User on the vault
}

// Observe reads what is there. It changes nothing, and asks about at most four things at a time.
func Observe(ctx context.Context, c *arm.Client, s Spec) (*State, error) {
	s = s.withDefaults(c.Subscription())
	if err := s.check(); err != nil {
		return nil, err
	}
	st := &State{Subscription: c.Subscription(), Providers: map[string]string{}, Roles: map[string]bool{}}
	var err error
	if st.Person, err = c.WhoAmI(ctx); err != nil {
		return nil, err
	}
	registrations := make([]string, len(namespaces))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i, n := range namespaces {
		g.Go(func() (err error) {
			registrations[i], err = c.Provider(gctx, n)
			return err
		})
	}
	g.Go(func() (err error) {
		st.Group, err = c.Group(gctx, s.Group)
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i, n := range namespaces {
		st.Providers[n] = registrations[i]
	}
	return st, st.observeGroup(ctx, c, s)
}

// observeGroup reads what is in the group. Without a group there is only the vault's name to ask about, which is not
// the group's alone.
func (st *State) observeGroup(ctx context.Context, c *arm.Client, s Spec) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	if st.Group != nil {
		g.Go(func() (err error) {
			st.Cluster, err = c.Cluster(gctx, s.Group, s.Cluster)
			return err
		})
		g.Go(func() (err error) {
			if st.Identity, err = c.Identity(gctx, s.Group, s.Identity); st.Identity == nil || err != nil {
				return err
			}
			st.Federations, err = c.Federations(gctx, s.Group, s.Identity)
			return err
		})
	}
	g.Go(func() (err error) {
		if st.Group != nil {
			st.Vault, err = c.Vault(gctx, s.Group, s.Vault)
		}
		if err != nil {
			return err
		}
		if st.Vault == nil {
			return st.observeName(gctx, c, s.Vault)
		}
		if st.Key, err = c.Key(gctx, s.Group, s.Vault, s.Key); st.Key == nil && err == nil {
			st.KeyDeleted = c.DeletedKey(gctx, st.Vault.URL, s.Key)
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	return st.observeRoles(ctx, c)
}

// observeName finds out why a vault of that name may not be had. An unregistered provider knows no vaults.
func (st *State) observeName(ctx context.Context, c *arm.Client, name string) error {
	if st.Providers["Microsoft.KeyVault"] != arm.Registered {
		return nil
	}
	deleted, err := c.DeletedVaults(ctx)
	if err != nil {
		return err
	}
	for _, d := range deleted {
		if strings.EqualFold(d.Name, name) {
			st.Deleted = &d
			return nil
		}
	}
	st.Taken, err = c.VaultNameTaken(ctx, name)
	return err
}

func (st *State) observeRoles(ctx context.Context, c *arm.Client) error {
	if st.Vault == nil || !st.Vault.RBAC {
		return nil
	}
	who := []string{st.Person.ObjectID}
	if st.Identity != nil {
		who = append(who, st.Identity.PrincipalID)
	}
	for _, id := range who {
		has, err := c.HasRole(ctx, st.Vault.ID, id, arm.CryptoUser)
		if err != nil {
			return err
		}
		st.Roles[id] = has
	}
	return nil
}
