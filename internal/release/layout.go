package release

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// Repository is the image's name without a tag, as the components manifest asks for it.
const Repository = "ghcr.io/sluice-gitops/sluice"

// WriteImage leaves index in dir twice: as the OCI image layout dir/image, and as the archive of that layout
// (dir/sluice_TAG_image.tar) that docker, podman, skopeo and crane take. It returns the archive's path. What was in
// either place before is replaced.
func WriteImage(dir string, r Release, index v1.ImageIndex) (archive string, err error) {
	folder := filepath.Join(dir, "image")
	if err := os.RemoveAll(folder); err != nil {
		return "", err
	}
	path, err := layout.Write(folder, empty.Index)
	if err != nil {
		return "", fmt.Errorf("image layout: %w", err)
	}
	// Two names for one thing: the specification's is the tag alone, and containerd's, which docker reads, is whole.
	err = path.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": r.Tag(),
		"io.containerd.image.name":          Repository + ":" + r.Tag(),
	}))
	if err != nil {
		return "", fmt.Errorf("image layout: %w", err)
	}
	files, err := tree(folder)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	if err := Tar(&b, files, r.Time); err != nil {
		return "", err
	}
	archive = filepath.Join(dir, "sluice_"+r.Tag()+"_image.tar")
	return archive, os.WriteFile(archive, b.Bytes(), 0o644)
}

// tree reads the regular files below dir.
func tree(dir string) ([]File, error) {
	var files []File
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		files = append(files, File{Name: filepath.ToSlash(name), Mode: 0o644, Data: data})
		return err
	})
	return files, err
}
