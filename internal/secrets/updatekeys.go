package secrets

import (
	"context"
	"fmt"
	"strings"

	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// KeyChange is what updatekeys is going to do to a file.
type KeyChange struct {
	Path           string
	Added, Removed []string
	Threshold      string // "2 of 3 groups → 1 of 3", empty: as it was
	doc            *sops.Document
	options        sops.SealOptions
	keep           map[[2]int]bool
	out            sops.Format
	indents        sops.Indents
	data           []byte
}

// None says that the file is as its rule wants it.
func (c *KeyChange) None() bool {
	return len(c.Added) == 0 && len(c.Removed) == 0 && c.Threshold == ""
}

// PlanKeys compares a sealed file's recipients with its rule. A file that no rule covers is a fault, or nil where it was
// met in a folder and is not sealed.
func (e *Engine) PlanKeys(path string, data []byte, found bool) (*KeyChange, error) {
	in, out := e.formats(path)
	if found && !sops.IsEncrypted(e.name(path), data) {
		return nil, nil
	}
	if err := readable(path, data, in); err != nil {
		return nil, err
	}
	rule, ind, err := e.rule(path)
	if err != nil {
		return nil, err
	}
	d, err := sops.Parse(path, data, in)
	if err != nil {
		return nil, err
	}
	if rule == nil || len(names(rule.Groups)) == 0 {
		return nil, e.nobody(path, rule)
	}
	m := d.Metadata()
	threshold := m.ShamirThreshold
	if e.Shamir > 0 {
		threshold = e.Shamir
	}
	if threshold = min(threshold, len(rule.Groups)); len(rule.Groups) <= 1 {
		threshold = 0
	}
	c := &KeyChange{Path: path, doc: d, out: out, indents: ind, data: data, keep: map[[2]int]bool{},
		options: sops.SealOptions{Recipients: rule.Groups, ShamirThreshold: threshold, Wrap: e.Wrap, Path: path}}
	if was := len(m.KeyGroups); was != len(rule.Groups) || m.ShamirThreshold != threshold && max(was, len(rule.Groups)) > 1 {
		c.Threshold = fmt.Sprintf("%s → %s", quorum(was, m.ShamirThreshold), quorum(len(rule.Groups), threshold))
	}
	c.compare(m.KeyGroups)
	return c, nil
}

func quorum(groups, threshold int) string {
	if groups <= 1 {
		return "any recipient"
	}
	if threshold == 0 {
		threshold = groups
	}
	return fmt.Sprintf("one recipient of each of %d out of %d groups", threshold, groups)
}

// compare fills Added and Removed, and lets a recipient that stays keep its copy of the data key, and its key version.
func (c *KeyChange) compare(have []recipient.Group) {
	want := c.options.Recipients
	for i := range max(len(have), len(want)) {
		var was, will recipient.Group
		if i < len(have) {
			was = have[i]
		}
		if i < len(want) {
			will = want[i]
		}
		stays := make([]bool, len(was))
		for j, w := range will {
			k := -1
			for n, h := range was {
				if !stays[n] && sameRecipient(w, h) {
					k = n
					break
				}
			}
			if k < 0 {
				c.Added = append(c.Added, describe(w))
				continue
			}
			stays[k] = true
			will[j] = was[k]
			c.keep[[2]int{i, j}] = true
		}
		for n, h := range was {
			if !stays[n] {
				c.Removed = append(c.Removed, describe(h))
			}
		}
	}
}

// sameRecipient ignores the version of a Key Vault key where the rule names none, so that updatekeys does not touch what
// rotate --outdated is for.
func sameRecipient(want, have recipient.Key) bool {
	if describe(want) == describe(have) {
		return true
	}
	if want.Kind() != "azure_kv" || have.Kind() != "azure_kv" {
		return false
	}
	w, h := want.String(), have.String()
	return strings.HasSuffix(w, "/") && strings.HasPrefix(h, w) && !strings.Contains(h[len(w):], "/")
}

// UpdateKeys carries a plan out: the data key is wrapped for the new recipients, values and MAC stay as they are.
func (e *Engine) UpdateKeys(ctx context.Context, c *KeyChange) (Output, error) {
	m := *c.doc.Metadata()
	m.KeyGroups, m.ShamirThreshold = c.options.Recipients, c.options.ShamirThreshold
	if err := c.doc.Rewrap(ctx, e.Keys, c.options, func(g, r int) bool { return c.keep[[2]int{g, r}] }); err != nil {
		return Output{}, err
	}
	sealed, err := c.doc.Emit(c.out, c.indents)
	out := Output{Data: lineEnds(c.data, sealed, c.out), Did: "updated"}
	if len(c.Removed) > 0 {
		out.Tell = append(out.Tell, "who was taken away may have kept the data key: sluice secrets rotate -i shuts them out of what is written from now on")
	}
	return out, err
}
