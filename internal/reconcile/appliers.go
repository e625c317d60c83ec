package reconcile

import (
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/apply"
)

// appliers holds one applier per user that objects are applied as. All share one connection pool's configuration and
// one mapper, which sees only the cluster's kinds and no tenant's objects.
type appliers struct {
	cfg    *rest.Config
	mapper meta.RESTMapper

	mu    sync.Mutex
	users map[string]*target
}

// target is one cluster as seen by one user.
type target struct {
	applier *apply.Applier
	reader  client.Reader
}

func newAppliers(cfg *rest.Config, mapper meta.RESTMapper) *appliers {
	return &appliers{cfg: cfg, mapper: mapper, users: map[string]*target{}}
}

// of returns the target for a ServiceAccount of namespace, or for the controller itself if account is empty. Every
// request on a tenant's behalf is impersonated, reads included.
func (s *appliers) of(namespace, account string) (*target, error) {
	user := ""
	if account != "" {
		user = "system:serviceaccount:" + namespace + ":" + account
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.users[user]; t != nil {
		return t, nil
	}
	cfg := rest.CopyConfig(s.cfg)
	cfg.Impersonate.UserName = user
	a, err := apply.New(cfg, apply.Options{FieldManager: applyFieldManager, Mapper: s.mapper})
	if err != nil {
		return nil, err
	}
	c, err := client.New(cfg, client.Options{Mapper: s.mapper})
	if err != nil {
		return nil, err
	}
	s.users[user] = &target{a, c}
	return s.users[user], nil
}
