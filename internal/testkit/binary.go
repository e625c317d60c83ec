package testkit

import (
	"fmt"
	"os"
	"path/filepath"
)

// binaryVariable names another control-plane binary than bin/sluice-cluster.
const binaryVariable = "SLUICE_CLUSTER_BIN"

// findBinary returns the path of sluice-cluster: what SLUICE_CLUSTER_BIN says, or bin/sluice-cluster of the module that
// dir is in.
func findBinary(dir string) (string, error) {
	path := os.Getenv(binaryVariable)
	if path == "" {
		root, err := moduleRoot(dir)
		if err != nil {
			return "", err
		}
		path = filepath.Join(root, "bin", "sluice-cluster")
	}
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		return "", fmt.Errorf("no control plane at %s; build it with: make build", path)
	}
	return filepath.Abs(path)
}

// moduleRoot returns the nearest folder, from dir upwards, that holds a go.mod.
func moduleRoot(dir string) (string, error) {
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("no go.mod in %s or above", dir)
		}
	}
}

// linkPrograms puts links to binary into dir, under the names of the programs that it is.
func linkPrograms(binary, dir string) error {
	for _, name := range []string{"etcd", "kube-apiserver", "kubectl"} {
		if err := os.Symlink(binary, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}
