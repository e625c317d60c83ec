package keyring

import (
	"reflect"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"golang.org/x/sync/singleflight"

	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
)

// partition is one identity's share of a Ring. Its address is part of every key in the cache, so that an identity that
// is forgotten and comes back finds nothing, even while requests of its former life are still under way.
type partition struct {
	fingerprint [32]byte
	cred        azcore.TokenCredential
	clouds      Clouds
	clients
	vaults  *keyvault.Client // nil without an Azure credential
	flights singleflight.Group
}

type parts struct {
	mu     sync.Mutex
	byName map[string]*partition
}

// get returns the partition of an identity, making it if there is none. stale is a partition that it replaces because
// the identity's credentials changed.
func (s *parts) get(id Identity, make func(Identity) *partition) (p, stale *partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.byName[id.Name]
	if old != nil && old.serves(id) {
		return old, nil
	}
	p = make(id)
	s.byName[id.Name] = p
	return p, old
}

func (s *parts) remove(name string) *partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.byName[name]
	delete(s.byName, name)
	return p
}

// serves reports whether the identity still has the credentials that the partition was made for. Identities from
// Secrets are compared by content, because each reading makes a new credential; others by the credential itself.
func (p *partition) serves(id Identity) bool {
	if p.fingerprint != id.fingerprint {
		return false
	}
	if id.fingerprint != [32]byte{} {
		return true
	}
	return same(p.cred, id.Azure) && p.clouds.AWS == id.AWS && same(p.clouds.Google, id.Google) && p.clouds.Vault == id.Vault
}

// same compares two credentials by identity. Those of a kind that cannot be compared are never the same.
func same(a, b any) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return reflect.TypeOf(a) == reflect.TypeOf(b) && reflect.TypeOf(a).Comparable() && a == b
}
