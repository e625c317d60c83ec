package check

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/secrets/rules"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/metadata"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
	"github.com/sluice-gitops/sluice/internal/sops/store"
	"github.com/sluice-gitops/sluice/internal/sops/tree"
)

// Sealed judges a sealed document without any key: its metadata and its plain values against its own rule and the
// repository's, which may be nil. It finds what SOPS's MAC doesn't cover: a narrowed rule, another's recipient, a value
// that the rule wants sealed.
func Sealed(name string, data []byte, rule *rules.Rule) []Finding {
	found, _ := sealedFindings(name, data, rule)
	slices.SortFunc(found, compare)
	return slices.Compact(found)
}

func sealedFindings(name string, data []byte, rule *rules.Rule) (found []Finding, docs []*sops.Metadata) {
	parts, err := parts(name, data)
	if err != nil {
		return []Finding{finding(Unusable, name, 0, err.Error(), "nobody can decrypt it as it stands", restore(name))}, nil
	}
	for _, p := range parts {
		if p.meta == nil { // a plain document of the stream
			if p.node != nil {
				found = append(found, secretFindings(name, p.node, 0)...)
			}
			continue
		}
		docs = append(docs, p.meta)
		if p.meta.MessageAuthenticationCode == "" {
			found = append(found, finding(BrokenMAC, name, p.line, "the document has no MAC",
				"the line was removed after it was sealed, so nothing shows whether its values are the sealed ones", restore(name)))
		}
		if rule != nil {
			found = append(found, against(name, data, rule, p.meta)...)
		}
		found = append(found, p.plainValues(name, rule)...)
	}
	if rule != nil && !rule.Chooses() && len(docs) > 0 {
		found = append(found, sealsNothing(name, data, parts)...)
	}
	return found, docs
}

// sealsNothing finds a file that has values and seals none of them. Its rule lists recipients and leaves the choice of
// values to whoever seals, but not the choice of none.
func sealsNothing(name string, data []byte, parts []part) []Finding {
	field, plain := "", 0
	for _, p := range parts {
		if p.meta == nil {
			continue
		}
		if p.seals() {
			return nil
		}
		own := ofDocument(p.meta)
		field = own.field + ": " + own.value
		p.walk(func([]string, []string, int) { plain++ })
	}
	if plain == 0 {
		return nil
	}
	return []Finding{finding(string(rules.Narrowed), name, lastLine(data, strings.SplitN(field, ":", 2)[0]), "it is sealed by "+field+", under which no value of it falls",
		"the file has recipients and a MAC, and every value of it can be read by everybody", fmt.Sprintf("sluice secrets decrypt -i %[1]s && sluice secrets encrypt -i %[1]s", word(name)))}
}

// against words the findings of package rules.
func against(name string, data []byte, rule *rules.Rule, doc *sops.Metadata) (out []Finding) {
	file := word(name)
	for _, f := range append(rules.Narrower(rule, doc), rules.Recipients(rule, doc)...) {
		line, seen, why, fix := 0, f.Seen, fmt.Sprintf("%s:%d wants %s", rule.File, rule.Line, f.Want), "sluice secrets updatekeys -y "+file
		switch f.Check {
		case rules.Narrowed:
			field, _, _ := strings.Cut(f.Seen, ":")
			line, seen = lastLine(data, field), "it is sealed by "+f.Seen
			why += ", and what the document's rule leaves out, the next edit writes in plain"
			fix = fmt.Sprintf("sluice secrets decrypt -i %s && sluice secrets encrypt -i %s", file, file)
		case rules.WeakMAC:
			line = lastLine(data, "mac_only_encrypted")
			fix = fmt.Sprintf("sluice secrets decrypt -i %s && sluice secrets encrypt -i %s", file, file)
		case rules.WeakQuorum:
			line = lastLine(data, "shamir_threshold")
		case rules.Unlisted, rules.OtherKey:
			line = lastLine(data, searchable(f.Recipient))
			if f.Check == rules.OtherKey {
				seen = "it is sealed for " + f.Seen
				break
			}
			why += "; who was added by hand can read the values after the next rotation"
			// Whoever is taken out knows the data key.
			fix += " && sluice secrets rotate -i " + file
		}
		out = append(out, finding(string(f.Check), name, line, seen, why, fix))
	}
	return out
}

// searchable is the part of a recipient's name that stands on a line of its document.
func searchable(recipient string) string {
	kind, name, _ := strings.Cut(recipient, " ")
	switch kind {
	case "azure_kv", "hc_vault":
		return name[strings.LastIndexByte(name, '/')+1:]
	case "kms":
		name, _, _ = strings.Cut(name, "|")
		name, _, _ = strings.Cut(name, "+")
	}
	return name
}

// part is one document of a file.
type part struct {
	meta *sops.Metadata // nil: it is not sealed
	line int            // of the document's beginning
	// One of the two holds the values.
	node   *yaml.Node  // YAML and JSON
	branch tree.Branch // dotenv and INI
	data   []byte      // for the lines of branch
}

// parts takes a file apart. Its errors quote nothing of it.
func parts(name string, data []byte) (out []part, err error) {
	defer func() {
		if recover() != nil { // the YAML parser, on forged input
			out, err = nil, fmt.Errorf("it is not a document that sops writes")
		}
	}()
	switch f := sops.FormatFor(name); f {
	case sops.Dotenv, sops.INI:
		branches, meta, err := store.ReadSealed(f.Store(), data)
		if err != nil {
			return nil, fmt.Errorf("its sops metadata cannot be read")
		}
		for i, b := range branches {
			p := part{branch: b, data: data, line: 1}
			if i == 0 {
				p.meta = meta
			}
			out = append(out, p)
		}
		return out, nil
	}
	nodes, err := documents(data)
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		p := part{node: n, line: n.Line}
		if seal := child(n, metadata.Key); seal != nil && (child(seal, "mac") != nil || child(seal, "lastmodified") != nil) {
			if p.meta, err = metadataOf(seal); err != nil {
				return nil, fmt.Errorf("its sops metadata cannot be read (line %d)", seal.Line)
			}
		}
		out = append(out, p)
	}
	return out, nil
}

// metadataOf reads a node as it would be read in the document.
func metadataOf(seal *yaml.Node) (*sops.Metadata, error) {
	budget := maxNodes
	v, err := treeOf(seal, &budget)
	if err != nil {
		return nil, err
	}
	b, ok := v.(tree.Branch)
	if !ok {
		return nil, metadata.ErrNotMapping
	}
	return metadata.Read(b)
}

// macFindings says what opening a document has shown, and whether it has shown anything.
func macFindings(name string, data []byte, err error) (found []Finding, looked bool) {
	f := fault.From(err)
	switch {
	case err == nil:
		return nil, true
	case f == nil || f.Hop != fault.HopSOPS:
		return nil, false // no key for it, or a vault that doesn't answer
	case f.Code == "SLU-SOPS-007":
		return []Finding{finding(BrokenMAC, name, max(lastLine(data, "mac:"), 1), f.Seen, f.Why, f.Fix)}, true
	case f.Code == "SLU-SOPS-006":
		return []Finding{finding(Tampered, name, 0, f.Seen, f.Why, f.Fix)}, true
	}
	return []Finding{finding(Unusable, name, 0, f.Seen, f.Why, f.Fix)}, true
}

func restore(name string) string {
	return fmt.Sprintf("git checkout $(git log -n 1 --skip 1 --format=%%h -- %[1]s) -- %[1]s", word(name))
}

// recipients lists those of a document.
func recipients(doc *sops.Metadata) (out []recipient.Key) {
	for _, g := range doc.KeyGroups {
		out = append(out, g...)
	}
	return out
}
