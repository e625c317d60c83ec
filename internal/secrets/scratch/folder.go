package scratch

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// prefix begins the name of every folder, so that Sweep removes nothing else.
const prefix = "sluice-scratch-"

// Folder is a folder in memory. Close must be called.
type Folder struct {
	Path    string
	watcher *exec.Cmd
	leash   io.WriteCloser
	release func() // lets a pipe's writer go; nil: there is none
}

// New makes a folder and starts its watcher: watch is the command line that ends in Sweep, to which the folder's path is
// added. env finds XDG_RUNTIME_DIR.
func New(watch []string, env func(string) string) (*Folder, error) {
	var tried []string
	for _, dir := range []string{env("XDG_RUNTIME_DIR"), "/dev/shm", os.TempDir()} {
		if dir == "" || !inMemory(dir) {
			tried = append(tried, dir)
			continue
		}
		path, err := os.MkdirTemp(dir, prefix)
		if err != nil {
			tried = append(tried, dir)
			continue
		}
		f := &Folder{Path: path}
		if err := f.watch(watch); err != nil {
			os.RemoveAll(path)
			return nil, fmt.Errorf("watch over %s: %w", path, err)
		}
		return f, nil
	}
	return nil, &fault.Fault{Code: "SLU-SCRATCH-001", Hop: fault.HopUsage, Seen: "no file system in memory was found to put plaintext on",
		Why: "tried " + strings.Join(strings.Fields(strings.Join(tried, " ")), ", ") + ": plaintext is not written to disks",
		Fix: `change one value without a file: sluice secrets set FILE '["stringData"]["password"]' --value-stdin`, Exit: 3}
}

func (f *Folder) watch(command []string) error {
	f.watcher = exec.Command(command[0], append(command[1:len(command):len(command)], f.Path)...)
	f.watcher.Env = []string{} // nothing of ours: it only removes a folder
	detach(f.watcher)
	leash, err := f.watcher.StdinPipe()
	if err != nil {
		return err
	}
	ready, err := f.watcher.StdoutPipe()
	if err != nil {
		return err
	}
	if err := f.watcher.Start(); err != nil {
		return err
	}
	f.leash = leash
	if _, err := io.ReadFull(ready, make([]byte, 1)); err != nil { // not before it shields itself from signals
		return fmt.Errorf("the watcher did not start: %w", err)
	}
	return nil
}

// Write puts a file into the folder.
func (f *Folder) Write(name string, data []byte) (path string, err error) {
	path = filepath.Join(f.Path, filepath.Base(name))
	return path, os.WriteFile(path, data, 0o600)
}

// Close removes the folder with all that is in it, and ends the watcher.
func (f *Folder) Close() error {
	if f.release != nil {
		f.release()
	}
	err := os.RemoveAll(f.Path)
	f.leash.Close()
	_ = f.watcher.Wait()
	return err
}

// Sweep is the watcher: it says that it is ready, waits until the process at the other end of in is gone, however that
// ended, and removes the folder. It removes nothing but a folder that New made.
func Sweep(path string, in io.Reader, ready io.Writer) error {
	if dir := filepath.Dir(path); !strings.HasPrefix(filepath.Base(path), prefix) || !filepath.IsAbs(path) || !inMemory(dir) {
		return fmt.Errorf("%s is no scratch folder", path)
	}
	shield()
	if _, err := ready.Write([]byte{'\n'}); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, in)
	return os.RemoveAll(path)
}
