package secrets

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// Rotation says how keys change. Add and Remove are made anew for each file, because wrapping writes into them.
type Rotation struct {
	Add, Remove func() (recipient.Group, error)
	// Together puts all files that have the same recipients under one data key; nil: a key for each file.
	Together *Together
}

// Rotate gives a sealed file a new data key: every value is encrypted again.
func (e *Engine) Rotate(ctx context.Context, path string, data []byte, r Rotation, found bool) (Output, error) {
	in, out := e.formats(path)
	if found && !sops.IsEncrypted(e.name(path), data) {
		return Output{}, nil
	}
	rule, ind, err := e.rule(path)
	if err != nil {
		return Output{}, err
	}
	d, err := e.open(ctx, path, data, in)
	if err != nil {
		return Output{}, err
	}
	groups, err := r.recipients(path, d.Metadata().KeyGroups)
	if err != nil {
		return Output{}, err
	}
	o := sops.SealOptions{Recipients: groups, ShamirThreshold: min(d.Metadata().ShamirThreshold, len(groups)), Wrap: e.Wrap, Path: path}
	if len(groups) == 1 {
		o.ShamirThreshold = 0
	}
	planned := *d.Metadata()
	planned.KeyGroups, planned.ShamirThreshold = o.Recipients, o.ShamirThreshold
	tell, err := e.enforce(path, rule, &planned)
	if err != nil {
		return Output{}, err
	}
	key, err := r.key(ctx, o)
	if err != nil {
		return Output{}, err
	}
	d.Rekey(key)
	if r.Together == nil {
		key.Forget()
	}
	sealed, err := d.Seal(out, ind, e.now())
	if err != nil {
		return Output{}, err
	}
	return e.result(path, rule, d.Metadata(), data, sealed, out, "rotated", tell)
}

func (r Rotation) recipients(path string, groups []recipient.Group) ([]recipient.Group, error) {
	groups = slices.Clone(groups)
	if r.Add != nil {
		add, err := r.Add()
		if err != nil {
			return nil, err
		}
		if len(groups) == 0 {
			groups = []recipient.Group{nil}
		}
		for _, k := range add { // twice is once
			if !strings.Contains(names(groups[:1]), describe(k)) {
				groups[0] = append(slices.Clone(groups[0]), k)
			}
		}
	}
	if r.Remove != nil {
		rm, err := r.Remove()
		if err != nil {
			return nil, err
		}
		left, unknown := without(groups, rm)
		if len(unknown) > 0 {
			return nil, secretFault("006", path, "it has no recipient "+strings.Join(unknown, ", "), "its recipients are "+names(groups),
				"leave the recipient out of the command", exitGeneric)
		}
		groups = left
	}
	if len(groups) == 0 {
		return nil, secretFault("007", path, "no recipient would be left", "nobody could decrypt the file", "add a recipient in the same command: --add-age age1…", exitGeneric)
	}
	return groups, nil
}

func (r Rotation) key(ctx context.Context, o sops.SealOptions) (*sops.SharedKey, error) {
	if r.Together != nil {
		return r.Together.key(ctx, o)
	}
	return sops.NewSharedKey(ctx, o)
}

// Together holds one data key for each set of recipients that occurs among the files of one command. It is safe for
// concurrent use.
type Together struct {
	mu   sync.Mutex
	keys map[string]*sops.SharedKey
}

func (t *Together) key(ctx context.Context, o sops.SealOptions) (*sops.SharedKey, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	id := fmt.Sprintf("%d %s", o.ShamirThreshold, recipientSet(o.Recipients))
	if k := t.keys[id]; k != nil {
		return k, nil
	}
	k, err := sops.NewSharedKey(ctx, o)
	if err != nil {
		return nil, err
	}
	if t.keys == nil {
		t.keys = map[string]*sops.SharedKey{}
	}
	t.keys[id] = k
	return k, nil
}

// Keys is how many data keys were made.
func (t *Together) Keys() int { return len(t.keys) }

// Forget overwrites the data keys.
func (t *Together) Forget() {
	for _, k := range t.keys {
		k.Forget()
	}
}

// recipientSet names groups whatever the order of the recipients in each.
func recipientSet(groups []recipient.Group) string {
	var out []string
	for _, g := range groups {
		var list []string
		for _, k := range g {
			list = append(list, describe(k))
		}
		slices.Sort(list)
		out = append(out, strings.Join(list, " "))
	}
	return strings.Join(out, "\n")
}
