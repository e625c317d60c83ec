package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
)

// Bounds on what one revision's submodules may cost.
const (
	maxModules     = 100
	maxModuleDepth = 10
	maxModulesFile = 1 << 20
)

// module is the mirror of one submodule's remote.
type module struct {
	*Mirror
	last map[string]*Revision // by commit
}

// modulesRun is one pass over a revision's submodules.
type modulesRun struct {
	root  *Mirror
	used  map[string]bool
	count int
}

// Submodules returns rev's tree with its submodules, and theirs, in their places. Each is fetched at the commit that its
// parent pins, into a mirror of its own below this one; what was fetched before costs no request.
//
// A submodule's URL may be relative to its parent's. Like any remote it must be http, https or ssh. spec.Auth is sent to
// the origin of spec.URL alone, never to another that a file of the repository names.
func (m *Mirror) Submodules(ctx context.Context, spec Spec, rev *Revision) (Tree, error) {
	run := &modulesRun{root: m, used: map[string]bool{}}
	tree, err := run.graft(ctx, spec, spec, rev.Tree, 0)
	if err != nil {
		return nil, err
	}
	run.sweep()
	return tree, nil
}

// graft mounts the submodules of t, a tree of the repository that spec names. origin is whom the credentials belong to.
func (run *modulesRun) graft(ctx context.Context, origin, spec Spec, t Tree, depth int) (Tree, error) {
	git, ok := t.(*gitTree)
	if !ok {
		return nil, errors.New("the revision is not one of a Git repository")
	}
	list, err := modulesOf(git)
	if err != nil || len(list) == 0 {
		return t, err
	}
	if depth == maxModuleDepth {
		return nil, moduleFault(list[0].Path, fmt.Sprintf("submodules are nested more than %d deep", maxModuleDepth), "")
	}
	for _, sub := range list {
		commit, ok, err := git.module(sub.Path)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue // named in .gitmodules and not there, as Git itself ignores
		}
		if run.count++; run.count > maxModules {
			return nil, moduleFault(sub.Path, fmt.Sprintf("there are more than %d submodules", maxModules), "")
		}
		child, err := moduleSpec(origin, spec, sub.URL)
		if err != nil {
			return nil, moduleFault(sub.Path, "its URL names no repository that is read", "name an http://, https:// or ssh:// URL in .gitmodules, or a relative one")
		}
		child.Commit = commit.String()
		rev, err := run.fetch(ctx, child)
		if err != nil {
			return nil, fmt.Errorf("submodule %q: %w", quoted(sub.Path), err)
		}
		below, err := run.graft(ctx, origin, child, rev.Tree, depth+1)
		if err != nil {
			return nil, err
		}
		if t, err = Mount(t, sub.Path, below, "."); err != nil {
			return nil, moduleFault(sub.Path, err.Error(), "")
		}
	}
	return t, nil
}

func moduleFault(at, why, fix string) error {
	if fix == "" {
		fix = "correct .gitmodules, or set spec.recurseSubmodules: false"
	}
	return gitFault("SLU-GIT-019", fmt.Sprintf("submodule %q cannot be fetched", quoted(at)), why, fix, nil)
}

// modulesOf reads .gitmodules, in path order. The names of submodules are used for nothing: they are a stranger's.
func modulesOf(t *gitTree) (list []*config.Submodule, err error) {
	data, _, err := t.ReadFile(".gitmodules")
	switch {
	case errors.Is(err, ErrNotExist), errors.Is(err, ErrIsDir):
		return nil, nil
	case err != nil:
		return nil, err
	case len(data) > maxModulesFile:
		return nil, moduleFault(".gitmodules", "the file is too large", "")
	}
	defer func() {
		if cause := recover(); cause != nil {
			list, err = nil, moduleFault(".gitmodules", "the file is malformed", "")
		}
	}()
	modules := config.NewModules()
	if err := modules.Unmarshal(data); err != nil {
		return nil, moduleFault(".gitmodules", "the file is malformed", "")
	}
	for _, sub := range modules.Submodules {
		parts, ok := split(sub.Path)
		if !ok || len(parts) == 0 || !all(parts, allowedName) {
			return nil, moduleFault(sub.Path, "its path leads out of the repository or into .git", "")
		}
		list = append(list, sub)
	}
	slices.SortFunc(list, func(a, b *config.Submodule) int { return strings.Compare(a.Path+"\x00"+a.URL, b.Path+"\x00"+b.URL) })
	return slices.CompactFunc(list, func(a, b *config.Submodule) bool { return a.Path == b.Path }), nil
}

func all(list []string, ok func(string) bool) bool {
	return !slices.ContainsFunc(list, func(s string) bool { return !ok(s) })
}

// module returns the commit that the tree pins at a path.
func (t *gitTree) module(at string) (plumbing.Hash, bool, error) {
	dir, name := path.Split(at)
	hash, isDir, err := t.resolve(path.Clean("./" + dir))
	if errors.Is(err, ErrNotExist) || err == nil && !isDir {
		return plumbing.ZeroHash, false, nil
	}
	if err != nil {
		return plumbing.ZeroHash, false, err
	}
	d, err := t.store.directory(hash)
	if err != nil {
		return plumbing.ZeroHash, false, err
	}
	commit, ok := d.modules[name]
	return commit, ok, nil
}

// moduleSpec says how to fetch a submodule of the repository that parent names.
func moduleSpec(origin, parent Spec, address string) (Spec, error) {
	if strings.HasPrefix(address, "./") || strings.HasPrefix(address, "../") {
		u, err := url.Parse(parent.URL)
		if err != nil {
			return Spec{}, err
		}
		u.Path, u.RawPath = path.Join("/", u.Path, address), ""
		address = u.String()
	} else if m := scpLike.FindStringSubmatch(address); m != nil && !strings.Contains(address, "://") {
		u := url.URL{Scheme: "ssh", Host: m[2], Path: "/" + strings.TrimPrefix(m[3], "/"), User: url.User("git")}
		if m[1] != "" {
			u.User = url.User(m[1])
		}
		address = u.String()
	}
	ep, err := parseURL(address)
	if err != nil {
		return Spec{}, err
	}
	child := Spec{URL: address, Auth: Auth{Proxy: origin.Auth.Proxy}}
	if own, err := parseURL(origin.URL); err == nil && own.scheme == ep.scheme && own.address() == ep.address() {
		child.Auth = origin.Auth
		if child.Auth.Username == "" && child.Auth.Password == "" && ep.user == "" && ep.scheme != "ssh" {
			child.Auth.Username, child.Auth.Password = own.user, own.pass
		}
	}
	return child, nil
}

// fetch brings a submodule's mirror to the pinned commit.
func (run *modulesRun) fetch(ctx context.Context, spec Spec) (*Revision, error) {
	sum := sha256.Sum256([]byte(spec.URL))
	key := hex.EncodeToString(sum[:16])
	if run.root.modules == nil {
		run.root.modules = map[string]*module{}
	}
	m := run.root.modules[key]
	if m == nil {
		mirror, err := OpenMirror(filepath.Join(run.root.dir, "modules", key))
		if err != nil {
			return nil, err
		}
		m = &module{mirror, map[string]*Revision{}}
		run.root.modules[key] = m
	}
	run.used[key] = true
	rev, err := m.Fetch(ctx, spec, m.last[spec.Commit])
	if err != nil {
		return nil, err
	}
	if len(m.last) > maxModules {
		clear(m.last)
	}
	m.last[spec.Commit] = rev
	return rev, nil
}

// sweep removes the mirrors of submodules that are no longer there, best effort. Revisions that came from them read on.
func (run *modulesRun) sweep() {
	entries, err := os.ReadDir(filepath.Join(run.root.dir, "modules"))
	if err != nil {
		return
	}
	for _, e := range entries {
		if !run.used[e.Name()] {
			delete(run.root.modules, e.Name())
			_ = os.RemoveAll(filepath.Join(run.root.dir, "modules", e.Name()))
		}
	}
}
