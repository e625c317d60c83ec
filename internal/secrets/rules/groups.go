package rules

import (
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// groupSpec is a key group as it is written down. Recipients are made of it again for every caller.
type groupSpec struct {
	line    int
	merged  []groupSpec // key_groups only; these come first
	age     []string
	pgp     []string
	kmsARNs []string // of a rule without key groups: ARN, or ARN+role
	profile string   // goes with kmsARNs
	kms     []kmsSpec
	gcpKMS  []string
	hcKMS   []string
	azure   []string // key URLs
	vault   []string
	grouped bool // an entry of key_groups, whose kinds stand in another order
}

type kmsSpec struct {
	arn, role, profile string
	context            map[string]*string
}

// group reads an entry of key_groups, or of merge in one.
func (p *parser) group(n *yaml.Node, depth int) groupSpec {
	g := groupSpec{line: n.Line, grouped: true}
	if depth > maxDepth {
		p.add(n.Line, "the key group merges itself")
		return g
	}
	known := map[string]func(*yaml.Node){
		"merge": func(n *yaml.Node) {
			for _, item := range p.list(n, "merge") {
				g.merged = append(g.merged, p.group(item, depth+1))
			}
		},
		"kms": func(n *yaml.Node) {
			for _, item := range p.list(n, "kms") {
				g.kms = append(g.kms, p.kms(item))
			}
		},
		"gcp_kms": p.single("gcp_kms", "resource_id", &g.gcpKMS),
		"hckms":   p.single("hckms", "key_id", &g.hcKMS),
		"azure_keyvault": func(n *yaml.Node) {
			for _, item := range p.list(n, "azure_keyvault") {
				g.azure = append(g.azure, p.azure(item))
			}
		},
	}
	for name, into := range map[string]*[]string{"age": &g.age, "pgp": &g.pgp, "hc_vault": &g.vault} {
		known[name] = func(n *yaml.Node) { p.strings(n, into, false) }
	}
	p.fields(n, "the key group", known, nil)
	return g
}

// single reads a list of mappings with one field.
func (p *parser) single(what, field string, into *[]string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		for _, item := range p.list(n, what) {
			var value string
			p.fields(item, "the entry of "+what, map[string]func(*yaml.Node){field: func(n *yaml.Node) { p.text(n, &value) }}, nil)
			if value == "" {
				p.add(item.Line, "the entry of %s has no %s", what, field)
			}
			*into = append(*into, value)
		}
	}
}

func (p *parser) kms(n *yaml.Node) kmsSpec {
	var k kmsSpec
	p.fields(n, "the entry of kms", map[string]func(*yaml.Node){
		"arn": func(n *yaml.Node) { p.text(n, &k.arn) }, "role": func(n *yaml.Node) { p.text(n, &k.role) },
		"aws_profile": func(n *yaml.Node) { p.text(n, &k.profile) },
		"context": func(n *yaml.Node) {
			if n.Decode(&k.context) != nil {
				p.add(n.Line, "context is no mapping of strings")
			}
			for name, value := range k.context {
				if value == nil { // the library would follow it
					p.add(n.Line, "context has no value for %s", name)
				}
			}
		},
	}, nil)
	if k.arn == "" {
		p.add(n.Line, "the entry of kms has no arn")
	}
	return k
}

func (p *parser) azure(n *yaml.Node) string {
	var vault, key, version string
	p.fields(n, "the entry of azure_keyvault", map[string]func(*yaml.Node){
		"vaultUrl": func(n *yaml.Node) { p.text(n, &vault) }, "key": func(n *yaml.Node) { p.text(n, &key) },
		"version": func(n *yaml.Node) { p.text(n, &version) },
	}, nil)
	if vault == "" || key == "" {
		p.add(n.Line, "the entry of azure_keyvault needs vaultUrl and key")
		return ""
	}
	return strings.TrimSuffix(vault, "/") + "/keys/" + key + "/" + version
}

// checkGroup reports recipients that are none. Their text is not quoted.
func (p *parser) checkGroup(g groupSpec) {
	for _, m := range g.merged {
		p.checkGroup(m)
	}
	for _, name := range g.age {
		if strings.HasPrefix(strings.ToUpper(strings.TrimSpace(name)), "AGE-SECRET-KEY-") {
			p.add(g.line, "a private age key stands where its public half belongs: put the line of age-keygen -y there, and replace the key if this file was pushed")
			return
		}
	}
	g.merged = nil
	if _, err := g.build(); err != nil {
		p.add(g.line, "%v", err)
	}
}

func buildGroups(specs []groupSpec) ([]recipient.Group, error) {
	out := make([]recipient.Group, len(specs))
	for i, s := range specs {
		g, err := s.build()
		if err != nil {
			return nil, err
		}
		if s.grouped {
			g = unique(g) // sops does it there, and not for a rule without key_groups
		}
		out[i] = g
	}
	return out, nil
}

// build makes recipients in the order in which sops makes them.
func (g groupSpec) build() (recipient.Group, error) {
	var out recipient.Group
	for _, m := range g.merged {
		sub, err := m.build()
		if err != nil {
			return nil, err
		}
		out = append(out, sub...)
	}
	for _, name := range splitAll(g.age) {
		k, err := recipient.ParseAge(name)
		if err != nil {
			return nil, errors.New("an age recipient cannot be read: it begins with age1, ssh-ed25519 or ssh-rsa")
		}
		out = append(out, k)
	}
	for _, f := range splitAll(g.pgp) {
		out = append(out, recipient.NewPGP(f))
	}
	for _, arn := range splitAll(g.kmsARNs) {
		out = append(out, recipient.ParseKMS(arn, nil, g.profile))
	}
	for _, k := range g.kms {
		out = append(out, recipient.NewKMS(k.arn, k.role, k.context, k.profile))
	}
	for _, id := range splitAll(g.gcpKMS) {
		out = append(out, recipient.NewGCPKMS(id))
	}
	for _, id := range splitAll(g.hcKMS) {
		k, err := recipient.ParseHuaweiKMS(id)
		if err != nil {
			return nil, errors.New("a key of hckms is not written region:id")
		}
		out = append(out, k)
	}
	for _, u := range splitAll(g.azure) {
		k, err := recipient.ParseAzureKV(u)
		if err != nil {
			return nil, err
		}
		out = append(out, k)
	}
	for _, uri := range splitAll(g.vault) {
		k, err := recipient.ParseHCVault(uri)
		if err != nil {
			return nil, errors.New("a key of Vault's transit engine is not written https://HOST/v1/ENGINE/keys/NAME")
		}
		out = append(out, k)
	}
	return out, nil
}

// splitAll splits what has commas in it, as sops does with lists too.
func splitAll(in []string) []string {
	var out []string
	for _, s := range in {
		for word := range strings.SplitSeq(s, ",") {
			if word = strings.TrimSpace(word); word != "" {
				out = append(out, word)
			}
		}
	}
	return out
}

// unique keeps the first of equal recipients.
func unique(g recipient.Group) recipient.Group {
	seen := map[string]bool{}
	var out recipient.Group
	for _, k := range g {
		name := fmt.Sprintf("%T/%s", k, k.String())
		if !seen[name] {
			seen[name] = true
			out = append(out, k)
		}
	}
	return out
}
