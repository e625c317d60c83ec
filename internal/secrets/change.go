package secrets

import (
	"context"

	"github.com/sluice-gitops/sluice/internal/sops"
)

// Set puts a value into a sealed file. With idempotent a value that is there already leaves the file as it is.
func (e *Engine) Set(ctx context.Context, path string, data []byte, at sops.TreePath, value any, idempotent bool) (Output, error) {
	return e.change(ctx, path, data, func(d *sops.Document) (string, error) {
		changed, err := d.Set(at, value)
		if err != nil || !changed && idempotent {
			return "", err
		}
		return "set", nil
	})
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
