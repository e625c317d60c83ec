package secrets

import (
	"context"
	"fmt"
	"slices"

	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// AddGroup adds a key group to a sealed file and shares the data key out anew among all groups; values and MAC stay.
// threshold is how many groups are needed from then on, 0: as many as before, or all if there was one.
func (e *Engine) AddGroup(ctx context.Context, path string, data []byte, g recipient.Group, threshold int) (Output, error) {
	if len(g) == 0 {
		return Output{}, secretFault("010", path, "the new group has no member", "a group without members can never be opened", "name one: --age age1…", exitGeneric)
	}
	return e.regroup(ctx, path, data, threshold, func(groups []recipient.Group) ([]recipient.Group, error) { return append(groups, g), nil })
}

// DeleteGroup takes the key group at an index, from 0, out of a sealed file.
func (e *Engine) DeleteGroup(ctx context.Context, path string, data []byte, index, threshold int) (Output, error) {
	return e.regroup(ctx, path, data, threshold, func(groups []recipient.Group) ([]recipient.Group, error) {
		if index < 0 || index >= len(groups) {
			return nil, secretFault("011", path, fmt.Sprintf("it has no key group %d", index), fmt.Sprintf("its %d groups are counted from 0: %s", len(groups), names(groups)),
				"sluice secrets status "+path, exitGeneric)
		}
		if len(groups) == 1 {
			return nil, secretFault("007", path, "no recipient would be left", "nobody could decrypt the file", "add another group first: sluice secrets groups add", exitGeneric)
		}
		return slices.Delete(groups, index, index+1), nil
	})
}

func (e *Engine) regroup(ctx context.Context, path string, data []byte, threshold int, change func([]recipient.Group) ([]recipient.Group, error)) (Output, error) {
	in, out := e.formats(path)
	if err := readable(path, data, in); err != nil {
		return Output{}, err
	}
	rule, ind, err := e.rule(path)
	if err != nil {
		return Output{}, err
	}
	d, err := sops.Parse(path, data, in)
	if err != nil {
		return Output{}, err
	}
	m := *d.Metadata()
	if m.KeyGroups, err = change(slices.Clone(m.KeyGroups)); err != nil {
		return Output{}, err
	}
	if threshold == 0 {
		threshold = m.ShamirThreshold
	}
	if threshold > len(m.KeyGroups) && len(m.KeyGroups) > 1 {
		return Output{}, tooManyGroups(path, threshold, len(m.KeyGroups))
	}
	if m.ShamirThreshold = threshold; len(m.KeyGroups) == 1 {
		m.ShamirThreshold = 0
	}
	tell, err := e.enforce(path, rule, &m)
	if err != nil {
		return Output{}, err
	}
	if err := d.Rewrap(ctx, e.Keys, sops.SealOptions{Recipients: m.KeyGroups, ShamirThreshold: m.ShamirThreshold, Wrap: e.Wrap, Path: path}, nil); err != nil {
		return Output{}, err
	}
	sealed, err := d.Emit(out, ind)
	if err != nil {
		return Output{}, err
	}
	return e.result(path, rule, d.Metadata(), data, sealed, out, "updated", tell)
}

func tooManyGroups(path string, threshold, groups int) error {
	return secretFault("012", path, fmt.Sprintf("%d of %d groups cannot be asked for", threshold, groups), "the file could never be opened",
		fmt.Sprintf("ask for fewer: --shamir-secret-sharing-threshold %d, or shamir_threshold: %d in the editor", groups, groups), exitGeneric)
}
