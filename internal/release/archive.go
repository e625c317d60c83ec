package release

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"cmp"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// File is one entry of an archive or layer. A name that ends with "/" is a folder.
type File struct {
	Name string // relative, with slashes
	Mode int64  // permission bits, with 01000 for a sticky folder
	UID  int    // of user and group; archives for people always say 0
	Data []byte
}

// sorted returns the files by name, or an error when two have the same: the second would win silently.
func sorted(files []File) ([]File, error) {
	files = slices.SortedFunc(slices.Values(files), func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
	for i := 1; i < len(files); i++ {
		if files[i].Name == files[i-1].Name {
			return nil, fmt.Errorf("%s is there twice", files[i].Name)
		}
	}
	return files, nil
}

// Tar writes files as a tar stream that depends on nothing but its arguments.
func Tar(w io.Writer, files []File, at time.Time) error {
	files, err := sorted(files)
	if err != nil {
		return err
	}
	out := tar.NewWriter(w)
	for _, f := range files {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.Name, Mode: f.Mode, Uid: f.UID, Gid: f.UID,
			Size: int64(len(f.Data)), ModTime: at.UTC().Truncate(time.Second)}
		if strings.HasSuffix(f.Name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := out.WriteHeader(h); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		if _, err := out.Write(f.Data); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return out.Close()
}

// TarGz is Tar, compressed; the gzip header carries neither name nor time.
func TarGz(w io.Writer, files []File, at time.Time) error {
	z := gzip.NewWriter(w)
	if err := Tar(z, files, at); err != nil {
		return err
	}
	return z.Close()
}

// Zip writes files as a zip archive that depends on nothing but its arguments. Zip knows no time before 1980.
func Zip(w io.Writer, files []File, at time.Time) error {
	files, err := sorted(files)
	if err != nil {
		return err
	}
	if first := time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC); at.Before(first) {
		at = first
	}
	out := zip.NewWriter(w)
	for _, f := range files {
		h := &zip.FileHeader{Name: f.Name, Method: zip.Deflate, Modified: at.UTC()}
		h.SetMode(fs.FileMode(f.Mode) & fs.ModePerm)
		entry, err := out.CreateHeader(h)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		if _, err := io.Copy(entry, bytes.NewReader(f.Data)); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return out.Close()
}
