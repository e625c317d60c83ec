package check

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/sluice-gitops/sluice/internal/secrets/rules"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// Cluster is whom the cluster decrypts as.
type Cluster struct {
	// Recipients are public names of the keys that the cluster's identity can use: age recipients, Key Vault key URLs
	// (with or without version), PGP fingerprints, ARNs and so on. Empty: every kind of Clouds.
	Recipients []string
	// Kustomizations are held against what lies under their paths.
	Kustomizations []Kustomization
}

// Kustomization is what a Flux Kustomization says about decryption.
type Kustomization struct {
	Name      string // namespace/name
	Path      string // spec.path, relative to the root
	Decrypts  bool   // spec.decryption.provider is sops
	SecretRef string // the Secret with the keys; empty: the cluster's cloud identity alone
}

// clouds are the kinds of recipients that need no Secret: a workload identity opens them.
var clouds = []string{"azure_kv", "kms", "gcp_kms", "hckms"}

// judge says whether the cluster could open a document.
func (c *Cluster) judge(name string, data []byte, doc *sops.Metadata) (out []Finding) {
	if c == nil {
		return nil
	}
	if len(c.Recipients) > 0 && !opens(doc, c.listed) {
		out = append(out, finding(Closed, name, sealLine(data), "none of the cluster's recipients can open it",
			"it is sealed for "+sealedFor(doc), "add the recipient to the rule in .sops.yaml, then: sluice secrets updatekeys -y "+word(name)))
	}
	for _, k := range c.Kustomizations {
		if dir := path.Clean(strings.TrimPrefix(k.Path, "./")); dir != "." && name != dir && !strings.HasPrefix(name, dir+"/") {
			continue
		}
		switch {
		case !k.Decrypts:
			out = append(out, finding(Closed, name, sealLine(data), "the Kustomization "+k.Name+" covers it and does not decrypt",
				"spec.decryption is missing, so the sealed values would be applied as they stand", "set spec.decryption.provider to sops in the Kustomization"))
		case k.SecretRef == "" && len(c.Recipients) == 0 && !opens(doc, isCloud):
			out = append(out, finding(Closed, name, sealLine(data), "the Kustomization "+k.Name+" covers it and has no key for it",
				"it is sealed for "+sealedFor(doc)+", and without spec.decryption.secretRef only a cloud's key opens a document", "name the Secret with the key in spec.decryption.secretRef, or seal the file for the cluster's Key Vault key"))
		}
	}
	return out
}

// opens says whether enough groups have a recipient that is ours.
func opens(doc *sops.Metadata, ours func(recipient.Key) bool) bool {
	have, need := 0, len(doc.KeyGroups)
	if doc.ShamirThreshold > 0 {
		need = doc.ShamirThreshold
	}
	for _, g := range doc.KeyGroups {
		if slices.ContainsFunc(g, ours) {
			have++
		}
	}
	return have >= max(need, 1)
}

func isCloud(k recipient.Key) bool { return slices.Contains(clouds, k.Kind()) }

func (c *Cluster) listed(k recipient.Key) bool {
	name := k.String()
	return slices.ContainsFunc(c.Recipients, func(r string) bool {
		return strings.EqualFold(r, name) || k.Kind() == "azure_kv" && strings.HasPrefix(strings.ToLower(name), strings.ToLower(strings.TrimSuffix(r, "/"))+"/")
	})
}

func sealedFor(doc *sops.Metadata) string {
	var names []string
	for i, k := range recipients(doc) {
		if i == 5 {
			names = append(names, fmt.Sprintf("%d more", len(recipients(doc))-i))
			break
		}
		names = append(names, rules.Recipient(k))
	}
	return strings.Join(names, ", ")
}

// sealLine is where a YAML document's metadata begins, 0 in other formats.
func sealLine(data []byte) int {
	if line := lastLine(data, "\nsops:"); line > 0 {
		return line + 1
	}
	return 0
}
