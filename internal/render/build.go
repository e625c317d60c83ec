package render

import (
	"sync"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	kustypes "sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/openapi"
)

// schema guards kyaml's process-global OpenAPI schema. Builds that leave it alone share it, so that the built-in schema is
// parsed once per process; a build that sets it (openapi, crds) has it to itself, starts from the built-in one, and leaves
// it reset. Without this, one tenant's schema decides how the next tenant's patches merge: an image can get lost.
var schema sync.RWMutex

// build runs kustomize over the file system.
func (r *renderer) build() (resmap.ResMap, error) {
	k := krusty.MakeKustomizer(&krusty.Options{
		Reorder:          krusty.ReorderOptionNone,
		LoadRestrictions: kustypes.LoadRestrictionsNone,
		PluginConfig:     kustypes.DisabledPluginConfig(),
	})
	var built resmap.ResMap
	err := withSchema(r.refs.exclusive, func() error {
		return guard(func() (err error) {
			built, err = k.Run(r.fs, absolute(r.root))
			return err
		})
	})
	if err == nil {
		err = r.fs.err
	}
	if err != nil {
		return nil, r.diagnose(err)
	}
	return built, nil
}

func withSchema(exclusive bool, f func() error) error {
	if !exclusive {
		schema.RLock()
		defer schema.RUnlock()
		return f()
	}
	schema.Lock()
	defer schema.Unlock()
	openapi.ResetOpenAPI()
	defer openapi.ResetOpenAPI()
	openapi.Schema()
	return f()
}
