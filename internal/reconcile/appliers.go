package reconcile

import (
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/apply"
)

// appliers holds one applier per cluster and user that objects are applied as. Those of one cluster share a connection
// pool's configuration and, in our own cluster, one mapper, which sees only the cluster's kinds and no tenant's objects.
type appliers struct {
	cfg    *rest.Config
	mapper meta.RESTMapper

	migrate bool // gate MigrateAPIVersion

	aks sync.Map // ConfigMap, as it stands, and account → *aksAnswer

	mu    sync.Mutex
	users map[user]*target
}

// user is who applies and where; the empty cluster is our own, the empty account whoever the connection stands for.
type user struct{ cluster, account string }

// target is one cluster as seen by one user.
type target struct {
	applier *apply.Applier
	reader  client.Reader
}

func newAppliers(cfg *rest.Config, mapper meta.RESTMapper, migrate bool) *appliers {
	return &appliers{cfg: cfg, mapper: mapper, migrate: migrate, users: map[user]*target{}}
}

// of returns the target for a ServiceAccount of namespace, or for the connection's own user if account is empty. remote
// is nil for our own cluster. Every request on a tenant's behalf is impersonated, reads included.
func (s *appliers) of(remote *cluster, namespace, account string) (*target, error) {
	who, cfg, mapper := user{}, s.cfg, s.mapper
	if account != "" {
		who.account = "system:serviceaccount:" + namespace + ":" + account
	}
	if remote != nil {
		who.cluster, cfg, mapper = remote.id, remote.config, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.users[who]; t != nil {
		return t, nil
	}
	s.dropOlder(who)
	cfg = rest.CopyConfig(cfg)
	if who.account != "" {
		cfg.Impersonate = rest.ImpersonationConfig{UserName: who.account}
	}
	a, err := apply.New(cfg, apply.Options{FieldManager: applyFieldManager, Mapper: mapper, MigrateAPIVersion: s.migrate})
	if err != nil {
		return nil, err
	}
	c, err := client.New(cfg, client.Options{Mapper: mapper})
	if err != nil {
		return nil, err
	}
	s.users[who] = &target{a, c}
	return s.users[who], nil
}

// dropOlder forgets targets that were reached with other credentials out of the same reference.
func (s *appliers) dropOlder(who user) {
	ref, _, remote := strings.Cut(who.cluster, "@")
	for u := range s.users {
		if remote && u.cluster != who.cluster && strings.HasPrefix(u.cluster, ref+"@") {
			delete(s.users, u)
		}
	}
}
