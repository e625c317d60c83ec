package secrets

import (
	"context"

	"github.com/sluice-gitops/sluice/internal/sops"
)

// Editor lets somebody change a text and returns it. check judges what came back; its error is shown and the editor
// opened again.
type Editor func(ctx context.Context, name string, text []byte, check func([]byte) error) ([]byte, error)

// Edit opens a sealed file, lets edit change the plaintext, and seals it under the data key that it had. ErrUnchanged is
// what edit returns when nothing changed.
func (e *Engine) Edit(ctx context.Context, path string, data []byte, edit Editor) (Output, error) {
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
	plain, err := d.Plain(in, ind)
	if err != nil {
		return Output{}, err
	}
	_, err = edit(ctx, path, plain, func(text []byte) error {
		if err := readable(path, text, in); err != nil {
			return err
		}
		return d.Replace(text, in)
	})
	if err != nil {
		return Output{}, err
	}
	sealed, err := d.Seal(out, ind, e.now())
	if err != nil {
		return Output{}, err
	}
	return e.result(path, rule, d.Metadata(), data, sealed, out, "edited", tell)
}

// Create lets edit change an example and seals it as a new file.
func (e *Engine) Create(ctx context.Context, path string, edit Editor) (Output, error) {
	in, _ := e.formats(path)
	rule, _, err := e.rule(path)
	if err != nil {
		return Output{}, err
	}
	if _, _, err := e.sealOptions(path, rule, in, true); err != nil { // before anything is typed
		return Output{}, err
	}
	var result Output
	_, err = edit(ctx, path, example(in), func(text []byte) (err error) {
		result, err = e.Encrypt(ctx, path, text, false)
		return err
	})
	return result, err
}

// example is what a new file begins with: a Secret in YAML, one value elsewhere.
func example(f sops.Format) []byte {
	switch f {
	case sops.YAML:
		return []byte("apiVersion: v1\nkind: Secret\nmetadata:\n    name: example\n    namespace: default\nstringData:\n    password: example\n")
	case sops.JSON:
		return []byte("{\n\t\"password\": \"example\"\n}\n")
	case sops.Dotenv:
		return []byte("PASSWORD=example\n")
	case sops.INI:
		return []byte("[example]\npassword = example\n")
	}
	return []byte("example\n")
}
