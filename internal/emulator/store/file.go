package store

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sluice-gitops/sluice/internal/fault"
)

const temporary = ".tmp-"

// WriteFile replaces path with data in one step, readable by this user only: readers and a crash see the old file or
// the new one, whole. On error the old file stands.
func WriteFile(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, temporary+filepath.Base(path)+"-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a rename last through a power cut. The file itself is in place by then, so what can't be synced, such
// as some network file systems' folders, is no reason to fail.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	_ = d.Sync()
	return d.Close()
}

// sweep removes what killed writers left.
func sweep(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, temporary+"*"))
	for _, path := range left {
		_ = os.Remove(path)
	}
}

// lock takes the folder for this process until unlock is called or the process ends, however it ends.
func lock(dir string) (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the emulator's state: %w", err)
	}
	if err := lockFile(f); err != nil {
		_ = f.Close()
		if errors.Is(err, errors.ErrUnsupported) {
			return nil, fmt.Errorf("lock the emulator's state: %w", err)
		}
		return nil, &fault.Fault{
			Code: "SLU-PLATFORM-104", Hop: fault.HopPlatform, Object: dir, Err: err,
			Seen: "another emulator runs on this state folder", Why: "two would overwrite each other's keys",
			Fix: "stop it with: sluice down --state-dir DIR, or name another folder with --state-dir",
		}
	}
	return f.Close, nil
}

// newSecret is a client secret of 256 random bits in 44 URL-safe characters. It begins with a letter: `az login -p -…`
// would take it for a flag.
func newSecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:])
	return "s" + base64.RawURLEncoding.EncodeToString(b[:])
}
