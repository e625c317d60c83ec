package reconcile

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/sops"
)

// sealedMark begins every value that sops has sealed.
const sealedMark = "ENC[AES256_GCM,"

// stripped is a render.Opener that opens nothing: it only takes the metadata away, so that what is left has the shape
// of the plain document.
func stripped(_ context.Context, path string, data []byte) ([]byte, error) {
	switch sops.FormatFor(path) {
	case sops.YAML, sops.JSON:
		return strippedYAML(path, data)
	case sops.Dotenv:
		return withoutLines(data, func(l string) bool { return strings.HasPrefix(l, "sops_") }), nil
	case sops.INI:
		inside := false
		return withoutLines(data, func(l string) bool {
			if strings.HasPrefix(l, "[") {
				inside = l == "[sops]"
			}
			return inside
		}), nil
	}
	return []byte(Mask), nil // binary: one value
}

// strippedYAML drops the top-level key sops from each document; JSON is YAML here.
func strippedYAML(path string, data []byte) ([]byte, error) {
	var out bytes.Buffer
	dec, enc := yaml.NewDecoder(bytes.NewReader(data)), yaml.NewEncoder(&out)
	for {
		var doc yaml.Node
		if err := dec.Decode(&doc); err != nil {
			if errors.Is(err, io.EOF) {
				break
			}
			return nil, &fault.Fault{Code: "SLU-SOPS-110", Hop: fault.HopSOPS, File: path, Seen: "the document is not valid YAML",
				Fix: "seal it again with sops"}
		}
		if len(doc.Content) == 1 && doc.Content[0].Kind == yaml.MappingNode {
			m := doc.Content[0]
			for i := 0; i+1 < len(m.Content); i += 2 {
				if m.Content[i].Value == "sops" {
					m.Content = append(m.Content[:i], m.Content[i+2:]...)
					break
				}
			}
		}
		if err := enc.Encode(&doc); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), enc.Close()
}

func withoutLines(data []byte, drop func(line string) bool) []byte {
	var out bytes.Buffer
	for line := range strings.Lines(string(data)) {
		if !drop(strings.TrimRight(line, "\r\n")) {
			out.WriteString(line)
		}
	}
	return out.Bytes()
}

// maskSealed replaces, in place, every string of an object that is sealed or, in a Secret's data, holds something
// sealed in base64.
func maskSealed(u *unstructured.Unstructured) {
	u.Object = maskedValue(u.Object).(map[string]any)
	data, _, _ := unstructured.NestedMap(u.Object, "data")
	if u.GetKind() != "Secret" || data == nil {
		return
	}
	for k, v := range data {
		text, _ := v.(string)
		plain, err := base64.StdEncoding.DecodeString(text)
		if text == Mask || err == nil && bytes.Contains(plain, []byte(sealedMark)) {
			data[k] = base64.StdEncoding.EncodeToString([]byte(Mask))
		}
	}
	u.Object["data"] = data
}

func maskedValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = maskedValue(v[k])
		}
	case []any:
		for i := range v {
			v[i] = maskedValue(v[i])
		}
	case string:
		if strings.Contains(v, sealedMark) {
			return Mask
		}
	}
	return v
}
