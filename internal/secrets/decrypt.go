package secrets

import (
	"context"

	"github.com/sluice-gitops/sluice/internal/sops"
)

// Decrypt opens a sealed file, or the part of it at extract. found passes over files that are not sealed.
func (e *Engine) Decrypt(ctx context.Context, path string, data []byte, extract sops.TreePath, found bool) (Output, error) {
	in, out := e.formats(path)
	if found && !sops.IsEncrypted(e.name(path), data) {
		return Output{}, nil
	}
	if err := readable(path, data, in); err != nil {
		return Output{}, err
	}
	_, ind, err := e.rule(path)
	if err != nil {
		return Output{}, err
	}
	if len(extract) == 0 && in == out && ind == (sops.Indents{}) {
		// Package sops opens streams whose documents were sealed apart, too.
		plain, err := sops.Open(ctx, e.Keys, path, data, in, e.MAC)
		if err != nil && plain == nil {
			return Output{}, err
		}
		return Output{Data: lineEnds(data, plain, out), Did: "decrypted"}, nil
	}
	d, err := e.open(ctx, path, data, in)
	if err != nil {
		return Output{}, err
	}
	var plain []byte
	if len(extract) > 0 {
		plain, err = d.Extract(extract, out, ind)
		return Output{Data: plain, Did: "decrypted"}, err
	}
	plain, err = d.Plain(out, ind)
	return Output{Data: lineEnds(data, plain, out), Did: "decrypted"}, err
}

// open parses and decrypts a sealed file for a change.
func (e *Engine) open(ctx context.Context, path string, data []byte, in sops.Format) (*sops.Document, error) {
	if err := readable(path, data, in); err != nil {
		return nil, err
	}
	d, err := sops.Parse(path, data, in)
	if err != nil {
		return nil, err
	}
	return d, d.Open(ctx, e.Keys, e.MAC)
}

// Environment calls do with each value at the top of the file, for exec-env.
func (e *Engine) Environment(ctx context.Context, path string, data []byte, do func(key, value string) error) error {
	in, _ := e.formats(path)
	d, err := e.open(ctx, path, data, in)
	if err != nil {
		return err
	}
	return d.Each(do)
}

// SharedKey opens a file for encrypt --like.
func (e *Engine) SharedKey(ctx context.Context, path string, data []byte) (*sops.SharedKey, error) {
	d, err := e.open(ctx, path, data, sops.FormatFor(path))
	if err != nil {
		return nil, err
	}
	return d.Key(), nil
}
