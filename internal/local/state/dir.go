// Package state is the folder that holds one local platform: its layout, its format version, its lock, the record of
// what runs, and the ports it listens on.
//
// It is the first thing `sluice up`, `down` and `env` open and starts no process itself. It refuses a folder that is
// not a platform's (so that purging cannot delete somebody's files) and one written by a newer sluice, touching
// nothing in either case.
package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// Format is the number of the layout this sluice writes and reads. It rises when an older sluice could not cope.
const Format = 1

// Dir is the absolute path of a state folder.
type Dir string

// DefaultDir gives the folder that flag (when not empty), SLUICE_STATE_DIR, XDG_STATE_HOME or the home directory name,
// in this order.
func DefaultDir(flag string, env func(string) string) (Dir, error) {
	path := flag
	if path == "" {
		path = env("SLUICE_STATE_DIR")
	}
	if path == "" && env("XDG_STATE_HOME") != "" {
		path = filepath.Join(env("XDG_STATE_HOME"), "sluice")
	}
	if path == "" {
		home := env("HOME")
		if home == "" {
			return "", &fault.Fault{Code: "SLU-PLATFORM-001", Hop: fault.HopPlatform, Seen: "no place for the state folder",
				Why: "HOME and XDG_STATE_HOME are not set", Fix: "sluice up --state-dir DIR"}
		}
		path = filepath.Join(home, ".local", "state", "sluice")
	}
	abs, err := filepath.Abs(path)
	return Dir(abs), err
}

func (d Dir) path(parts ...string) string {
	return filepath.Join(append([]string{string(d)}, parts...)...)
}

// Version is the file with the format's number.
func (d Dir) Version() string { return d.path("version") }

// LockFile is locked by whoever runs the platform.
func (d Dir) LockFile() string { return d.path("lock") }

// RecordFile holds the Record.
func (d Dir) RecordFile() string { return d.path("platform.json") }

// Events holds the supervisor's events, one JSON object a line.
func (d Dir) Events() string { return d.path("events.ndjson") }

// Log is the log of one process: platform, cluster, kustomize-controller.
func (d Dir) Log(name string) string { return d.path("logs", name+".log") }

// Cluster is sluice-cluster's folder.
func (d Dir) Cluster() string { return d.path("cluster") }

// AdminKubeconfig is written by sluice-cluster.
func (d Dir) AdminKubeconfig() string { return d.path("cluster", "admin.kubeconfig") }

// Emulator is the Azure emulator's folder.
func (d Dir) Emulator() string { return d.path("emulator") }

// GitRoot is the folder that the Git server serves.
func (d Dir) GitRoot() string { return d.path("git") }

// Repository is the bare repository that the cluster follows.
func (d Dir) Repository() string { return d.path("git", RepositoryName) }

// WorkingCopy is the user's clone of it.
func (d Dir) WorkingCopy() string { return d.path("work", "gitops") }

// Node is a path among the controller's own files: its storage, tokens and kubeconfig.
func (d Dir) Node(parts ...string) string { return d.path(append([]string{"node"}, parts...)...) }

// Bin holds kubectl, for users who have none.
func (d Dir) Bin() string { return d.path("bin") }

// Kubeconfig is the user's.
func (d Dir) Kubeconfig() string { return d.path("kubeconfig") }

// CABundle is what everything on this platform trusts: the system's roots and the emulator's.
func (d Dir) CABundle() string { return d.path("ca-bundle.pem") }

// RepositoryName is the bare repository's folder below GitRoot, and the path of its URL.
const RepositoryName = "gitops.git"

var folders = []string{"logs", "emulator", "git", "work", "node", "bin"}

// Create makes d a state folder if it isn't one yet: an absent or empty folder becomes one, one of this format is
// completed, anything else is a fault. It proves that files can be written before it returns.
func Create(d Dir) error {
	switch err := Check(d); {
	case errors.Is(err, fs.ErrNotExist):
		if entries, err := os.ReadDir(string(d)); err == nil && len(entries) > 0 {
			return foreign(d)
		}
		if err := os.MkdirAll(string(d), 0o700); err != nil {
			return unusable(d, err)
		}
		if err := WriteFile(d.Version(), []byte(strconv.Itoa(Format)+"\n"), 0o600); err != nil {
			return unusable(d, err)
		}
	case err != nil:
		return err
	}
	for _, f := range folders {
		if err := os.MkdirAll(d.path(f), 0o700); err != nil {
			return unusable(d, err)
		}
	}
	probe := d.path("node", ".probe")
	if err := WriteFile(probe, make([]byte, 4096), 0o600); err != nil {
		return unusable(d, err)
	}
	return os.Remove(probe)
}

// Check tells whether d is a state folder of this format: nil, an error matching fs.ErrNotExist when there is none, or
// a fault.
func Check(d Dir) error {
	if info, err := os.Stat(string(d)); err == nil && !info.IsDir() {
		return &fault.Fault{Code: "SLU-PLATFORM-002", Hop: fault.HopPlatform, Object: string(d), Seen: "the state folder is not a directory",
			Fix: "sluice up --state-dir DIR, with a folder that doesn't exist yet"}
	}
	raw, err := os.ReadFile(d.Version())
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no platform in %s: %w", d, fs.ErrNotExist)
	}
	if err != nil {
		return unusable(d, err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || n < 1 {
		return foreign(d)
	}
	if n > Format {
		return &fault.Fault{Code: "SLU-PLATFORM-003", Hop: fault.HopPlatform, Object: string(d),
			Seen: fmt.Sprintf("state folder of format %d", n),
			Why:  fmt.Sprintf("it was written by a newer sluice; this one knows formats up to %d", Format),
			Fix:  "use the newer sluice, or another folder: sluice up --state-dir DIR"}
	}
	return nil
}

// Purge removes d and everything below it. It refuses a folder that isn't a platform's of a format this sluice knows.
func Purge(d Dir) error {
	if err := Check(d); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			if _, serr := os.Stat(string(d)); errors.Is(serr, fs.ErrNotExist) {
				return nil
			}
			return foreign(d)
		}
		return err
	}
	if err := os.RemoveAll(string(d)); err != nil {
		return unusable(d, err)
	}
	return nil
}

func foreign(d Dir) error {
	return &fault.Fault{Code: "SLU-PLATFORM-004", Hop: fault.HopPlatform, Object: string(d),
		Seen: "the folder holds other files and no sluice platform", Why: "nothing in it was touched",
		Fix: "choose a folder that is empty or doesn't exist yet: --state-dir DIR"}
}

func unusable(d Dir, err error) error {
	f := &fault.Fault{Code: "SLU-PLATFORM-005", Hop: fault.HopPlatform, Object: string(d), Seen: "the state folder can't be written", Why: cause(err),
		Fix: "sluice up --state-dir DIR, with a folder that you can write", Err: err}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		f.Code, f.Seen = "SLU-PLATFORM-006", "the disk is full"
		f.Fix = "free some space (a platform needs about 200 MB), or choose another disk: sluice up --state-dir DIR"
	case errors.Is(err, syscall.EROFS):
		f.Seen = "the state folder is on a read-only file system"
	}
	return f
}

func cause(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Path + ": " + pe.Err.Error()
	}
	return err.Error()
}

// WriteFile replaces the file at path by data through a temporary file beside it, synced before the rename, so that a
// crash or a full disk leaves the old content.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Chmod(mode)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	return err
}
