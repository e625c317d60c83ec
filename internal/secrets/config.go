package secrets

import (
	"path/filepath"
	"sync"

	"github.com/sluice-gitops/sluice/internal/secrets/rules"
)

// Config finds and reads .sops.yaml, each one once. The zero value searches upwards from the working directory, as sops
// does, then from the file's own folder.
type Config struct {
	Path string // --config or SOPS_CONFIG; empty: search

	mu     sync.Mutex
	loaded map[string]*loaded
}

type loaded struct {
	file *rules.File
	err  error
}

// For gives the .sops.yaml that rules over the file at path, nil if there is none.
func (c *Config) For(path string) (*rules.File, error) {
	if c == nil {
		return nil, nil
	}
	at := c.Path
	if at == "" {
		found, ok := rules.Find(".")
		if !ok {
			found, ok = rules.Find(filepath.Dir(path))
		}
		if !ok {
			return nil, nil
		}
		at = found
	}
	at, err := filepath.Abs(at)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loaded == nil {
		c.loaded = map[string]*loaded{}
	}
	l := c.loaded[at]
	if l == nil {
		l = &loaded{}
		l.file, l.err = rules.Load(at)
		c.loaded[at] = l
	}
	return l.file, l.err
}
