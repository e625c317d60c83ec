package render

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// objects makes kustomize's result what is handed on: variables substituted, lists flattened, every object complete and
// unique, common metadata set.
func (r *renderer) objects(ctx context.Context, built resmap.ResMap) ([]*unstructured.Unstructured, error) {
	sub, err := r.substitution()
	if err != nil {
		return nil, err
	}
	out := make([]*unstructured.Unstructured, 0, built.Size())
	ids := map[string]bool{}
	for _, res := range built.Resources() {
		content, err := r.apply(sub, res)
		if err != nil {
			return nil, err
		}
		for _, o := range flatten(&unstructured.Unstructured{Object: content}) {
			if isKustomizeConfig(o) {
				continue // Flux drops these too
			}
			if err := r.complete(o, res.GetKind(), res.GetName()); err != nil {
				return nil, err
			}
			id := objectID(o)
			if ids[id] {
				return nil, r.duplicate(o.GetKind(), o.GetNamespace(), o.GetName())
			}
			ids[id] = true
			if err := r.openValues(ctx, o); err != nil {
				return nil, err
			}
			if err := r.secret(o); err != nil {
				return nil, err
			}
			r.setCommonMetadata(o)
			out = append(out, o)
		}
	}
	return out, nil
}

// flatten returns the items of a list, or the object itself. kustomize flattens the lists it reads; a patch can make one.
// An object of another kind may well have a field named items.
func flatten(o *unstructured.Unstructured) []*unstructured.Unstructured {
	if !strings.HasSuffix(o.GetKind(), "List") || !o.IsList() {
		return []*unstructured.Unstructured{o}
	}
	var out []*unstructured.Unstructured
	_ = o.EachListItem(func(item runtime.Object) error {
		out = append(out, item.(*unstructured.Unstructured))
		return nil
	})
	return out
}

func isKustomizeConfig(o *unstructured.Unstructured) bool {
	return strings.EqualFold(o.GetKind(), "kustomization") && strings.HasPrefix(o.GetAPIVersion(), "kustomize.config.k8s.io/")
}

func isSecret(o *unstructured.Unstructured) bool {
	return o.GetAPIVersion() == "v1" && strings.EqualFold(o.GetKind(), "secret")
}

func objectID(o *unstructured.Unstructured) string {
	gvk := o.GroupVersionKind()
	return gvk.Group + "/" + gvk.Kind + "/" + o.GetNamespace() + "/" + o.GetName()
}

// complete refuses an object that no API server could take. builtKind and builtName are what kustomize knew it as.
func (r *renderer) complete(o *unstructured.Unstructured, builtKind, builtName string) error {
	var missing string
	switch {
	case o.GetAPIVersion() == "":
		missing = "apiVersion"
	case o.GetKind() == "":
		missing = "kind"
	case o.GetName() == "":
		missing = "metadata.name"
	default:
		return nil
	}
	f := &fault.Fault{
		Code: "SLU-RENDER-007", Hop: fault.HopRender, Reason: reasonBuild,
		File: r.fileOf(builtKind, builtName), Object: strings.Trim(builtKind+"/"+builtName, "/"),
		Seen: "the object has no " + missing, Fix: "add " + missing,
	}
	if missing == "metadata.name" {
		f.Why = "objects are compared and pruned by name, so generateName is not possible"
	}
	return f
}

// secret collects a Secret's values, and refuses one that is still encrypted: applying ciphertext would break whoever
// reads it, and look like success.
func (r *renderer) secret(o *unstructured.Unstructured) error {
	if !isSecret(o) {
		return nil
	}
	if mac, _, _ := unstructured.NestedString(o.Object, "sops", "mac"); mac != "" && !keepsSealed(o.GetAnnotations()) {
		f := &fault.Fault{
			Code: "SLU-SOPS-101", Hop: fault.HopSOPS, Reason: reasonBuild,
			File: r.fileOf(o.GetKind(), o.GetName()), Object: "Secret/" + strings.Trim(o.GetNamespace()+"/"+o.GetName(), "/"),
			Seen: "it is SOPS encrypted, but the Kustomization has no decryption configured",
			Fix:  "add spec.decryption.provider: sops to the Kustomization",
		}
		if r.req.Open != nil {
			f.Seen, f.Fix = "it is SOPS encrypted and was not opened", "name its file under resources, patches or secretGenerator"
		}
		return f
	}
	for _, field := range []string{"data", "stringData"} {
		values, _ := o.Object[field].(map[string]any)
		for _, v := range values {
			if s, ok := v.(string); ok && field == "data" {
				r.secrets.addEncoded(s)
			} else if ok {
				r.secrets.add(s)
			}
		}
	}
	return nil
}

// setCommonMetadata lays spec.commonMetadata over the object's labels and annotations.
func (r *renderer) setCommonMetadata(o *unstructured.Unstructured) {
	common := r.req.Kustomization.Spec.CommonMetadata
	if common == nil {
		return
	}
	for field, values := range map[string]map[string]string{"labels": common.Labels, "annotations": common.Annotations} {
		if len(values) == 0 {
			continue
		}
		metadata := o.Object["metadata"].(map[string]any) // complete found a name in it
		have, ok := metadata[field].(map[string]any)
		if !ok {
			have = map[string]any{}
			metadata[field] = have
		}
		for k, v := range values {
			have[k] = v
		}
	}
}

// unreadable is an object that substitution turned into something that is no YAML.
func (r *renderer) unreadable(res *resource.Resource, err error) error {
	return &fault.Fault{
		Code: "SLU-RENDER-009", Hop: fault.HopRender, Reason: reasonBuild,
		File: r.fileOf(res.GetKind(), res.GetName()), Object: res.GetKind() + "/" + res.GetName(),
		Seen: "the object is no valid YAML once its variables are substituted",
		Why:  shorten(plain(err.Error()), maxMessage),
		Fix:  "put quotation marks into the value, as in '\"${VAR}\"', so that they are there after substitution",
	}
}

func (r *renderer) duplicate(kind, namespace, name string) error {
	files := r.filesOf(kind, name)
	f := &fault.Fault{
		Code: "SLU-RENDER-008", Hop: fault.HopRender, Reason: reasonBuild,
		Object: strings.Trim(kind+"/"+strings.Trim(namespace+"/"+name, "/"), "/"),
		Seen:   "the object is rendered twice",
		Fix:    "remove one of them, or give it another name or namespace",
	}
	switch len(files) {
	case 0:
	case 1:
		f.File = files[0]
	default:
		f.File, f.Why = files[1], fmt.Sprintf("it stands in %s", strings.Join(files, " and in "))
	}
	return f
}
