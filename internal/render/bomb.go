package render

import (
	"bytes"

	"go.yaml.in/yaml/v3"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

// maxUnfolded is how many values a file may stand for once its aliases are unfolded. kustomize unfolds them without any
// limit of its own; the largest manifests that people write have some ten thousands.
const maxUnfolded = 1_000_000

var aliased = lazyregexp.New(`(?m)(^|[\s\[{,:-])\*[^\s*,\]}]`)

// refuseBomb refuses a file whose aliases multiply to more than anybody means. Files without aliases are not parsed, and
// what is no YAML is for others to judge.
func refuseBomb(file string, data []byte) error {
	if !bytes.ContainsRune(data, '&') || !aliased.Match(data) {
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for total := 0; ; {
		var doc yaml.Node
		if dec.Decode(&doc) != nil {
			return nil
		}
		if total += unfolded(&doc, map[*yaml.Node]int{}); total > maxUnfolded {
			return &fault.Fault{
				Code: "SLU-RENDER-015", Hop: fault.HopRender, File: file, Reason: reasonBuild,
				Seen: "its YAML aliases stand for more than a million values", Why: "unfolding them would take all memory",
				Fix: "write the values out, or use fewer aliases",
			}
		}
	}
}

// unfolded counts the values under n, those of aliases where they stand, and no further than the limit.
func unfolded(n *yaml.Node, known map[*yaml.Node]int) int {
	if count, ok := known[n]; ok {
		return count
	}
	known[n] = maxUnfolded + 1 // what an alias to itself would see
	count := 1
	if n.Alias != nil {
		count += unfolded(n.Alias, known)
	}
	for _, c := range n.Content {
		if count += unfolded(c, known); count > maxUnfolded {
			count = maxUnfolded + 1
			break
		}
	}
	known[n] = count
	return count
}
