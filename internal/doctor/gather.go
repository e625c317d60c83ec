package doctor

import (
	"context"
	"fmt"
	"path"
	"slices"
	"sync"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"

	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
	"github.com/sluice-gitops/sluice/internal/source"
)

// Scheme returns the kinds that the doctor reads. Options.Client must know them.
var Scheme = sync.OnceValue(func() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(s))
	utilruntime.Must(sourcev1.AddToScheme(s))
	utilruntime.Must(kustomizev1.AddToScheme(s))
	return s
})

// Gather looks at every hop that can be looked at. Each step goes by what the steps before it found; what cannot be had
// is noted, not returned. Its only errors are that the Kustomization cannot be read, and the context's.
func Gather(ctx context.Context, o Options) (*Facts, error) {
	f := &Facts{Object: o.Kustomization, Controller: o.Controller, NoNetwork: o.NoNetwork}
	var k kustomizev1.Kustomization
	if err := o.Client.Get(ctx, o.Kustomization, &k); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, &fault.Fault{
				Code: "SLU-KUBERNETES-008", Hop: fault.HopAPI, Exit: fault.ExitNo, Err: err,
				Seen: "there is no Kustomization " + o.Kustomization.String(),
				Fix:  "sluice get kustomizations -A",
			}
		}
		return nil, err
	}
	f.Kustomization = &k
	defer func() {
		for _, undo := range f.cleanup {
			undo()
		}
	}()
	gatherCluster(ctx, o, f)
	tree := gatherSource(ctx, o, f)
	if tree != nil {
		gatherDocuments(ctx, f, tree)
	}
	f.settleCloud(o)
	if o.NoNetwork {
		return f, ctx.Err()
	}
	gatherAzure(ctx, o, f)
	gatherToken(ctx, o, f)
	gatherVaults(ctx, o, f)
	gatherTrial(ctx, o, f)
	return f, ctx.Err()
}

// gatherDocuments renders the Kustomization as the controller would, and notes each encrypted file that is opened on
// the way. What the build says beyond a missing path is not this command's business: it sees encrypted values.
func gatherDocuments(ctx context.Context, f *Facts, tree source.Tree) {
	var mu sync.Mutex
	found := map[string][]byte{}
	_, err := render.Render(ctx, render.Request{
		Tree: tree, Path: f.Kustomization.Spec.Path, Kustomization: f.Kustomization, Encrypted: sops.IsEncrypted, LooseVars: true,
		Open: func(_ context.Context, p string, data []byte) ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			found[p] = data
			return data, nil
		},
	})
	if _, _, missing := tree.ReadDir(clean(f.Kustomization.Spec.Path)); missing != nil && err != nil {
		f.Path = err
		return
	}
	for p, data := range found {
		f.Documents = append(f.Documents, document(p, data))
	}
	slices.SortFunc(f.Documents, func(a, b Document) int { return compare(a.Path, b.Path) })
}

func clean(p string) string {
	if p = path.Clean("/" + p)[1:]; p == "" {
		return "."
	}
	return p
}

func document(p string, data []byte) Document {
	d := Document{Path: p, data: data}
	m, err := sops.Peek(p, data, sops.FormatFor(p))
	if err != nil {
		d.Err = err
		return d
	}
	for _, g := range m.KeyGroups {
		for _, k := range g {
			d.Recipients = append(d.Recipients, k.Kind()+" "+k.String())
			kv, ok := k.(*recipient.AzureKV)
			if !ok {
				continue
			}
			id, err := keyvault.ParseKeyID(kv.String())
			if err == nil {
				err = id.Check()
			}
			if err != nil {
				d.Err = fmt.Errorf("%s: %w", p, err)
				return d
			}
			d.Keys = append(d.Keys, id)
		}
	}
	return d
}

// vaultKeys are the distinct Key Vault keys of all documents.
func (f *Facts) vaultKeys() []keyvault.KeyID {
	var ids []keyvault.KeyID
	for _, d := range f.Documents {
		for _, id := range d.Keys {
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

func namespaced(namespace, name string) types.NamespacedName {
	return types.NamespacedName{Namespace: namespace, Name: name}
}
