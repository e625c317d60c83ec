package release

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// Sums is the file that lists the SHA-256 of each archive, in the form of sha256sum.
const Sums = "SHA256SUMS"

// Archives builds the program for each target and leaves one archive per target in dir (zip for Windows, tar.gz for
// the others) with the program, its bill of materials, LICENSE, the licences of what it is linked from, completions and
// manual pages; and Sums, written last.
// root is the program's command tree. What can be made is made: the error names every target that could not, and then
// there is no Sums.
func Archives(ctx context.Context, dir string, r Release, targets []Target, build Builder, licenses Licensor, root *cobra.Command, license []byte) error {
	pages, err := pages(root, r)
	if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, Sums)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var lines []string
	var failed []error
	for _, t := range targets {
		name, data, err := archive(ctx, r, t, build, licenses, append(slices.Clip(pages), File{Name: "LICENSE", Mode: 0o644, Data: license}))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o644)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", t, err))
			continue
		}
		lines = append(lines, fmt.Sprintf("%x  %s\n", sha256.Sum256(data), name))
	}
	if err := errors.Join(failed...); err != nil {
		return err
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[65:], b[65:]) })
	return os.WriteFile(filepath.Join(dir, Sums), []byte(strings.Join(lines, "")), 0o644)
}

func pages(root *cobra.Command, r Release) ([]File, error) {
	completions, err := Completions(root)
	if err != nil {
		return nil, err
	}
	manual, err := Manual(root, r)
	return append(completions, manual...), err
}

// archive builds for t and packs the result with rest.
func archive(ctx context.Context, r Release, t Target, build Builder, licenses Licensor, rest []File) (name string, data []byte, err error) {
	b, err := build(ctx, t)
	if err != nil {
		return "", nil, err
	}
	notices, err := licenses(ctx, t)
	if err == nil {
		err = notices.covers(b)
	}
	if err != nil {
		return "", nil, err
	}
	sbom, err := SBOM(b, r.Version, r.Time)
	if err != nil {
		return "", nil, err
	}
	files := append(rest, File{Name: t.Exe(), Mode: 0o755, Data: b.Data}, File{Name: "sluice.spdx.json", Mode: 0o644, Data: sbom},
		File{Name: NoticesFile, Mode: 0o644, Data: notices.Text()})
	name = "sluice_" + strings.TrimPrefix(r.Version, "v") + "_" + t.OS + "_" + t.Arch
	var out bytes.Buffer
	if t.OS == "windows" {
		err = Zip(&out, files, r.Time)
		name += ".zip"
	} else {
		err = TarGz(&out, files, r.Time)
		name += ".tar.gz"
	}
	return name, out.Bytes(), err
}
