package secrets

import (
	"bytes"
	"context"
	"fmt"

	"github.com/sluice-gitops/sluice/internal/sops"
)

// Set puts a value into a sealed file. With idempotent a value that is there already leaves the file as it is.
func (e *Engine) Set(ctx context.Context, path string, data []byte, at sops.TreePath, value any, idempotent bool) (Output, error) {
	return e.change(ctx, path, data, func(d *sops.Document) (string, error) {
		if err := positionsInLists(path, d, at); err != nil {
			return "", err
		}
		changed, err := d.Set(at, value)
		if err != nil || !changed && idempotent {
			return "", err
		}
		return "set", nil
	})
}

// positionsInLists refuses a position where the document has a mapping: sops takes it, ends with success, and has set
// nothing.
func positionsInLists(path string, d *sops.Document, at sops.TreePath) error {
	for i, c := range at {
		if _, position := c.(int); !position {
			continue
		}
		mapping := i == 0
		if i > 0 {
			above, err := d.Extract(at[:i], sops.JSON, sops.Indents{})
			mapping = err == nil && bytes.HasPrefix(above, []byte("{"))
		}
		if mapping {
			return secretFault("013", path, fmt.Sprintf("there is no position %d in a mapping", c), at.String()+" asks for one, and a mapping has keys",
				"look at its shape: sluice secrets decrypt "+path, exitGeneric)
		}
	}
	return nil
}

// Unset takes a value out of a sealed file. With idempotent a value that is not there leaves the file as it is.
func (e *Engine) Unset(ctx context.Context, path string, data []byte, at sops.TreePath, idempotent bool) (Output, error) {
	return e.change(ctx, path, data, func(d *sops.Document) (string, error) {
		if err := d.Unset(at); err != nil {
			if idempotent {
				return "", nil
			}
			return "", err
		}
		return "unset", nil
	})
}

// change opens a file, lets do change it, and seals it under the data key that it had. do returning "" means that
// nothing changed.
func (e *Engine) change(ctx context.Context, path string, data []byte, do func(*sops.Document) (string, error)) (Output, error) {
	in, out := e.formats(path)
	rule, ind, err := e.rule(path)
	if err != nil {
		return Output{}, err
	}
	d, err := e.open(ctx, path, data, in)
	if err != nil {
		return Output{}, err
	}
	tell, err := e.enforce(path, rule, d.Metadata())
	if err != nil {
		return Output{}, err
	}
	did, err := do(d)
	if err != nil {
		return Output{}, err
	}
	if did == "" {
		return Output{Did: "unchanged"}, nil
	}
	sealed, err := d.Seal(out, ind, e.now())
	if err != nil {
		return Output{}, err
	}
	return e.result(path, rule, d.Metadata(), data, sealed, out, did, tell)
}
