package render

import (
	"context"
	"encoding/base64"
	"maps"
	"slices"
	"strings"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// decryptKey is the annotation that, as "disabled", has an object applied as it stands, ciphertext included: for clusters
// in which somebody else decrypts.
const decryptKey = "kustomize.toolkit.fluxcd.io/decrypt"

func keepsSealed(annotations map[string]string) bool {
	return strings.EqualFold(annotations[decryptKey], kustomizev1.DisabledValue)
}

// isKeptSealed says whether a sealed file is one manifest that bears the annotation. SOPS leaves metadata readable in a
// manifest that is to be applied.
func isKeptSealed(data []byte) bool {
	var o struct {
		Metadata struct {
			Annotations map[string]string `json:"annotations"`
		} `json:"metadata"`
	}
	return yaml.Unmarshal(data, &o) == nil && keepsSealed(o.Metadata.Annotations)
}

// openValues opens the values of a Secret's data that are SOPS documents themselves; the key's extension says which
// format. What the build made of sealed files was opened before it.
func (r *renderer) openValues(ctx context.Context, o *unstructured.Unstructured) error {
	if !isSecret(o) || r.req.Open == nil || r.req.Encrypted == nil || keepsSealed(o.GetAnnotations()) {
		return nil
	}
	values, _ := o.Object["data"].(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(values)) {
		text, _ := values[key].(string)
		sealed, err := base64.StdEncoding.DecodeString(text)
		if err != nil || !r.req.Encrypted(key, sealed) {
			continue // the API server says what is wrong with bad base64
		}
		plain, err := r.req.Open(ctx, key, sealed)
		if err != nil {
			if f := fault.From(err); f != nil && f.Object == "" {
				f.Object = "Secret/" + strings.Trim(o.GetNamespace()+"/"+o.GetName(), "/") + ", key " + key
			}
			return err
		}
		values[key] = base64.StdEncoding.EncodeToString(plain)
	}
	return nil
}
