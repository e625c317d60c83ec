package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
)

const (
	cacheBytes = 32 << 20 // inflated objects kept, per store; delta bases profit most
	cacheDirs  = 1 << 14  // parsed directories kept, per store
)

// store is a bare repository of packs alone, in Git's own layout, so that `git --git-dir` can look inside. Only the
// Mirror adds to it, one fetch at a time; reading is safe for concurrent use and goes on meanwhile.
//
// No reference of the remote is stored under its own name: HEAD holds the hash that was fetched last, and that is all.
type store struct {
	dir     string
	objects *cache.ObjectLRU
	packs   atomic.Pointer[[]*pack] // newest last; replaced, never changed
	cut     []plumbing.Hash         // commits without their parents
	damaged atomic.Bool             // a read failed: the next fetch starts over

	mu   sync.RWMutex
	dirs map[plumbing.Hash]*directory
}

// errDamaged says that what is on disk is not what was written.
var errDamaged = errors.New("object store is damaged")

func newStore(dir string) *store {
	s := &store{dir: dir, objects: cache.NewObjectLRU(cacheBytes), dirs: map[plumbing.Hash]*directory{}}
	s.packs.Store(new([]*pack))
	return s
}

// createStore makes an empty store.
func createStore(dir string) (*store, error) {
	for _, sub := range []string{"objects/pack", "objects/info", "refs/heads"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, storageFault("cannot create the object store", err)
		}
	}
	config := "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n[gc]\n\tauto = 0\n"
	if err := os.WriteFile(filepath.Join(dir, "config"), []byte(config), 0o600); err != nil {
		return nil, storageFault("cannot create the object store", err)
	}
	return newStore(dir), nil
}

// openStore opens a store and verifies it. An error is errDamaged if anything is amiss with what is there.
func openStore(dir string) (*store, error) {
	s := newStore(dir)
	names, err := filepath.Glob(filepath.Join(dir, "objects/pack", "pack-*.pack"))
	if err != nil {
		return nil, err
	}
	var packs []*pack
	for _, name := range names {
		p, err := openPack(name, s.objects)
		if errors.Is(err, os.ErrNotExist) {
			os.Remove(name) // no index: the process died between the two renames
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", errDamaged, filepath.Base(name), err)
		}
		packs = append(packs, p)
	}
	s.packs.Store(&packs)
	if head := s.head(); head.IsZero() || !s.has(head) {
		return nil, fmt.Errorf("%w: HEAD names no object", errDamaged)
	}
	for _, line := range strings.Fields(readString(filepath.Join(dir, "shallow"))) {
		s.cut = append(s.cut, plumbing.NewHash(line))
	}
	return s, nil
}

func readString(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(data)
}

// head is the commit that was fetched last.
func (s *store) head() plumbing.Hash {
	text := strings.TrimSpace(readString(filepath.Join(s.dir, "HEAD")))
	if !plumbing.IsHash(text) {
		return plumbing.ZeroHash
	}
	return plumbing.NewHash(text)
}

// setHead records what was fetched; shallow says that its parents were not.
func (s *store) setHead(commit plumbing.Hash, shallow bool) error {
	if shallow && !slices.Contains(s.cut, commit) {
		s.cut = append(s.cut, commit)
		var b bytes.Buffer
		for _, h := range s.cut {
			fmt.Fprintln(&b, h)
		}
		if err := s.write("shallow", b.String()); err != nil {
			return err
		}
	}
	if s.head() == commit {
		return nil
	}
	return s.write("HEAD", commit.String()+"\n")
}

func (s *store) write(name, text string) error {
	err := replaceFile(filepath.Join(s.dir, name), func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
	if err != nil {
		return storageFault("cannot write the object store", err)
	}
	return nil
}

// add stores a pack.
func (s *store) add(from io.Reader, limit func(io.Writer) io.Writer) error {
	held := s.any
	if s.count() == 0 {
		held = nil
	}
	p, err := writePack(filepath.Join(s.dir, "objects/pack"), from, held, limit, s.objects)
	if err != nil || p == nil {
		return err
	}
	packs := append(slices.Clone(*s.packs.Load()), p)
	s.packs.Store(&packs)
	return nil
}

func (s *store) count() int { return len(*s.packs.Load()) }

func (s *store) has(h plumbing.Hash) bool {
	return slices.ContainsFunc(*s.packs.Load(), func(p *pack) bool { return p.has(h) })
}

// object returns the object h of the kind t. An object that the remote owed and did not send, and one that can no
// longer be read, both mark the store as damaged.
func (s *store) object(h plumbing.Hash, t plumbing.ObjectType) (plumbing.EncodedObject, error) {
	if o, ok := s.objects.Get(h); ok && o.Type() == t {
		return o, nil
	}
	packs := *s.packs.Load()
	for _, p := range slices.Backward(packs) {
		if !p.has(h) {
			continue
		}
		o, err := p.object(h)
		if err == nil && o.Type() == t {
			return o, nil
		}
		if err == nil {
			err = fmt.Errorf("%s is a %s", h, o.Type())
		}
		return nil, s.damage(err)
	}
	if h == emptyTree && t == plumbing.TreeObject {
		o := &plumbing.MemoryObject{}
		o.SetType(t)
		return o, nil
	}
	return nil, s.damage(fmt.Errorf("%s %s is missing", t, h))
}

func (s *store) damage(err error) error {
	s.damaged.Store(true)
	return gitFault("SLU-GIT-010", "the object store is damaged", err.Error(), "none needed: the next fetch builds it anew", errDamaged)
}

// emptyTree exists in every repository without being stored in it.
var emptyTree = plumbing.NewHash("4b825dc642cb6eb9a060e54bf8d69288fbee4904")

// errNotSent says that a pack lacked what it was fetched for.
var errNotSent = errors.New("not sent")

// expect checks that what was just fetched is there, and a commit.
func (s *store) expect(h plumbing.Hash) error {
	if !s.has(h) {
		return gitFault("SLU-GIT-011", "the remote did not send "+h.String(), "its pack lacks what was asked for", "none here: it is tried again", errNotSent)
	}
	if o, ok := s.any(h); ok && o.Type() != plumbing.CommitObject {
		return gitFault("SLU-GIT-005", "the reference is not a commit", "it points at a "+o.Type().String(), "name a branch, or a tag of a commit", nil)
	}
	return nil
}

// any returns the object h of whatever kind, if it is there and can be read.
func (s *store) any(h plumbing.Hash) (plumbing.EncodedObject, bool) {
	for _, p := range slices.Backward(*s.packs.Load()) {
		if p.has(h) {
			o, err := p.object(h)
			return o, err == nil
		}
	}
	return nil, false
}
