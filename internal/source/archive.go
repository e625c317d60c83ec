package source

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"path"
	"time"
)

// WriteArchive writes the revision as a Flux artifact: a gzipped tar of regular files and directories, named relative
// to the repository's root and in name order, without what Flux excludes by default. Owner, mode and time are fixed,
// so that one tree always gives the same bytes. An error from w is returned as it is.
func (r *Revision) WriteArchive(w io.Writer) error {
	zip, err := gzip.NewWriterLevel(w, gzip.DefaultCompression)
	if err != nil {
		return err
	}
	to := tar.NewWriter(zip)
	if err := archiveDir(to, Artifact(r.Tree), "."); err != nil {
		return err
	}
	if err := to.Close(); err != nil {
		return err
	}
	return zip.Close()
}

func archiveDir(to *tar.Writer, tree Tree, dir string) error {
	entries, _, err := tree.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name)
		header := &tar.Header{Name: name, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
		if e.Dir {
			header.Typeflag, header.Name, header.Mode = tar.TypeDir, name+"/", 0o750
			if err := to.WriteHeader(header); err != nil {
				return err
			}
			if err := archiveDir(to, tree, name); err != nil {
				return err
			}
			continue
		}
		data, _, err := tree.ReadFile(name)
		if err != nil {
			return err
		}
		header.Typeflag, header.Mode, header.Size = tar.TypeReg, 0o600, int64(len(data))
		if err := to.WriteHeader(header); err != nil {
			return err
		}
		if _, err := to.Write(data); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
