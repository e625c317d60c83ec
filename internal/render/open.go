package render

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"

	"golang.org/x/sync/errgroup"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// opensAtOnce bounds how many documents of one render wait for their data keys together.
const opensAtOnce = 8

// sealed is a SOPS document that the build will read.
type sealed struct {
	reference
	name  string // what Open is told: the path, with an extension that says the format
	data  []byte
	plain []byte
}

// open puts the plaintext of SOPS documents in the place where kustomize reads them. It runs before the build takes its
// lock: a slow vault must not hold up other builds.
func (r *renderer) open(ctx context.Context) error {
	docs, err := r.sealed()
	if err != nil || r.req.Open == nil {
		return err
	}
	for _, d := range docs {
		for _, other := range r.refs.files {
			if other.path == d.path && other.use.publishes() {
				return bothWays(d.reference, other)
			}
		}
	}
	errs := make([]error, len(docs))
	group, openCtx := errgroup.WithContext(ctx)
	group.SetLimit(opensAtOnce)
	for i, d := range docs {
		group.Go(func() error {
			errs[i] = r.openOne(openCtx, d)
			return errs[i]
		})
	}
	_ = group.Wait() // errs has them in the order of the files
	if err := ctx.Err(); err != nil {
		return late(docs, err)
	}
	for i, d := range docs {
		if errs[i] != nil && fault.From(errs[i]) == nil && !errors.Is(errs[i], context.Canceled) {
			errs[i] = notOpened(d.path, errs[i])
		}
	}
	if err := firstCause(errs); err != nil {
		return err
	}
	for _, d := range docs {
		r.fs.overlay[d.path] = d.plain
		r.secrets.addDocument(d.path, d.use, d.data, d.plain)
	}
	return nil
}

// openOne opens one document. A panic of the opener becomes its error: in a goroutine nobody else could catch it, and the
// runtime would end the process and print what was panicked with, which may be the document.
func (r *renderer) openOne(ctx context.Context, d *sealed) (err error) {
	defer func() {
		if p := recover(); p != nil {
			f := *fault.Panicked(p, fault.HopSOPS, "SLU-BUG-003")
			f.File = d.path
			err = &f
		}
	}()
	d.plain, err = r.req.Open(ctx, d.name, d.data)
	return err
}

// firstCause prefers an error that is not the cancellation which another one caused.
func firstCause(errs []error) error {
	var cancelled error
	for _, err := range errs {
		switch {
		case err == nil:
		case errors.Is(err, context.Canceled):
			cancelled = err
		default:
			return err
		}
	}
	return cancelled
}

// sealed lists the SOPS documents among the files that Flux would decrypt, each once, in the order of the walk.
func (r *renderer) sealed() ([]*sealed, error) {
	if r.req.Encrypted == nil {
		return nil, nil
	}
	var out []*sealed
	seen := map[string]bool{}
	for _, ref := range r.refs.files {
		if !ref.use.opened() || seen[ref.path] {
			continue
		}
		seen[ref.path] = true
		data, err := r.fs.load(ref.path)
		if err != nil {
			return nil, err
		}
		d := &sealed{reference: ref, name: ref.path, data: data}
		if ref.use == useSecretEnv && !hasFormat(ref.path) {
			d.name += ".env" // an env file is dotenv unless its extension says otherwise
		}
		// Every format names sops in its metadata. Looking for the word first spares most files a parse.
		if bytes.Contains(data, []byte("sops")) && r.req.Encrypted(d.name, data) && !isKeptSealed(data) {
			out = append(out, d)
		}
	}
	return out, nil
}

// hasFormat says whether a file's extension is one that SOPS knows.
func hasFormat(p string) bool {
	switch path.Ext(p) {
	case ".yaml", ".yml", ".json", ".env", ".ini":
		return true
	}
	return false
}

// late names a document that was not opened when the time was over; a render that was cancelled is nobody's fault.
func late(docs []*sealed, err error) error {
	for _, d := range docs {
		if d.plain == nil && errors.Is(err, context.DeadlineExceeded) {
			return &fault.Fault{
				Code: "SLU-SOPS-103", Hop: fault.HopSOPS, File: d.path, Reason: reasonBuild, Err: err,
				Seen: "it was not opened within the Kustomization's timeout", Why: "a key service did not answer in time",
				Fix: "ask the service of the file's keys whether it is well, or raise spec.timeout",
			}
		}
	}
	return err
}

// notOpened is a failure that the opener has no fault for.
func notOpened(file string, err error) error {
	return &fault.Fault{
		Code: "SLU-SOPS-102", Hop: fault.HopSOPS, File: file, Reason: reasonBuild,
		Seen: "it cannot be decrypted", Why: err.Error(), Err: err,
	}
}

// bothWays refuses a document that one reference opens and another would publish.
func bothWays(opened, published reference) error {
	return &fault.Fault{
		Code: "SLU-RENDER-012", Hop: fault.HopRender, File: opened.path, Reason: reasonBuild,
		Seen: fmt.Sprintf("the encrypted file is read by %s in %s and by %s in %s",
			opened.field, opened.from, published.field, published.from),
		Why: "the first decrypts it, the second would publish the plaintext",
		Fix: "let only one of the two name it",
	}
}
