package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// maxPacks is how many packs a store takes, one per fetch that brought something, before the next fetch starts a new
// store with one pack. It bounds disk, open files and lookups at the price of a whole shallow fetch every so often.
const maxPacks = 32

// Mirror keeps the objects of one repository in a directory of its own. Stores in it are numbered: g1, g2, …; the
// highest whole one is in use, and the others are removed. A new one is begun when the old one is damaged or has
// maxPacks packs. Revisions read on from the store that they came from, whose files they hold open.
type Mirror struct {
	dir     string
	turn    chan struct{} // holds the right to fetch
	store   *store        // nil: nothing fetched yet
	loaded  bool
	fetched map[*store][32]byte // the identity that a store's last fetch succeeded with
	limit   func(io.Writer) io.Writer
	modules map[string]*module // mirrors of submodules, by their address
}

// OpenMirror opens the mirror in dir, creating it if needed; what it holds is verified at the first Fetch. One process
// at a time may use a dir.
func OpenMirror(dir string) (*Mirror, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, storageFault("cannot create the mirror's directory", err)
	}
	return &Mirror{dir: dir, turn: make(chan struct{}, 1), fetched: map[*store][32]byte{},
		limit: func(w io.Writer) io.Writer { return w }}, nil
}

// Fetch brings the mirror to the state of the remote and returns it as a Revision. It lists the remote's refs, which is
// one request, and returns last itself if the revision is still that; a pinned commit that last shows already needs no
// request. Otherwise it fetches what is missing, and on failure leaves what was there.
//
// Errors are faults with hop git; a canceled context gives context.Canceled. Calls wait for one another.
func (m *Mirror) Fetch(ctx context.Context, spec Spec, last *Revision) (*Revision, error) {
	r, err := newRemote(spec)
	if err != nil {
		return nil, err
	}
	select {
	case m.turn <- struct{}{}:
		defer func() { <-m.turn }()
	case <-ctx.Done():
		return nil, explain(ctx, r, ctx.Err())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends whatever body was not read to its end
	if err := m.load(); err != nil {
		return nil, err
	}
	if spec.Commit != "" {
		return m.fetchCommit(ctx, r, spec, last)
	}
	s, refs, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if len(refs.References) == 0 {
		return nil, gitFault("SLU-GIT-012", r.ep.String()+" has no commits", "the repository is empty", "push a first commit", nil)
	}
	t, err := resolve(spec, refs)
	if err != nil {
		return nil, err
	}
	if m.shows(last, t) {
		return last, nil
	}
	if m.holds(t.commit) && m.holds(t.want) {
		return m.revision(t, true)
	}
	if err := m.fetch(ctx, r, s, refs, request{want: t.want, commit: t.commit}); err != nil {
		return nil, err
	}
	return m.revision(t, true)
}

// shows reports whether rev is t and can still be read.
func (m *Mirror) shows(rev *Revision, t target) bool {
	if rev == nil || rev.Name != t.name() || rev.tag != t.tagObject() {
		return false
	}
	tree, ok := rev.Tree.(*gitTree)
	return ok && !tree.store.damaged.Load()
}

// holds reports whether a commit, and with it its whole tree, is in the store.
func (m *Mirror) holds(commit plumbing.Hash) bool {
	return m.store != nil && !m.store.damaged.Load() && m.store.has(commit)
}

// load opens the newest whole store in the directory and removes the rest.
func (m *Mirror) load() error {
	if m.loaded {
		return nil
	}
	numbers, err := m.generations()
	if err != nil {
		return err
	}
	for i := len(numbers) - 1; i >= 0; i-- {
		dir := m.generation(numbers[i])
		if m.store == nil {
			s, err := openStore(dir)
			if err == nil {
				m.store = s
				continue
			}
			if !errors.Is(err, errDamaged) {
				return storageFault("cannot open the object store", err)
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			return storageFault("cannot remove an old object store", err)
		}
	}
	m.loaded = true
	return nil
}

func (m *Mirror) generation(n int) string { return filepath.Join(m.dir, "g"+strconv.Itoa(n)) }

func (m *Mirror) generations() ([]int, error) {
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return nil, storageFault("cannot read the mirror's directory", err)
	}
	var numbers []int
	for _, e := range entries {
		if n, err := strconv.Atoi(strings.TrimPrefix(e.Name(), "g")); err == nil && n > 0 && e.IsDir() {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// fetch gets a pack by the conversation s, into the store or, where that is full or damaged, into a new one.
func (m *Mirror) fetch(ctx context.Context, r *remote, s session, refs *packp.AdvRefs, q request) error {
	into := m.store
	if into == nil || into.damaged.Load() || into.count() >= maxPacks {
		var err error
		if into, err = m.newStore(); err != nil {
			return err
		}
	} else if head := into.head(); !head.IsZero() && into.has(head) {
		q.have = []plumbing.Hash{head}
	}
	req := q.demand(refs.Capabilities)
	if err := m.receive(ctx, s, req, into); err != nil {
		if into != m.store {
			os.RemoveAll(into.dir)
		}
		return explain(ctx, r, err)
	}
	err := into.expect(q.commit)
	if err == nil {
		err = into.setHead(q.commit, !req.Depth.IsZero())
	}
	if err != nil {
		if into != m.store {
			os.RemoveAll(into.dir)
		}
		return err
	}
	if old := m.store; into != old {
		m.store = into
		if old != nil {
			delete(m.fetched, old)
			os.RemoveAll(old.dir) // best effort: load removes what stays
		}
	}
	return nil
}

func (m *Mirror) newStore() (*store, error) {
	numbers, err := m.generations()
	if err != nil {
		return nil, err
	}
	next := 1
	if len(numbers) > 0 {
		next = numbers[len(numbers)-1] + 1
	}
	return createStore(m.generation(next))
}

func (m *Mirror) receive(ctx context.Context, s session, req *packp.UploadPackRequest, into *store) error {
	raw, err := s.pack(ctx, req)
	if err != nil {
		return err
	}
	defer raw.Close()
	data, err := readPack(raw, req)
	if err != nil {
		return err
	}
	return into.add(data, m.limit)
}

// revision reads t out of the store and makes it the one to fetch on top of.
func (m *Mirror) revision(t target, keep bool) (*Revision, error) {
	s := m.store
	o, err := s.object(t.commit, plumbing.CommitObject)
	if err != nil {
		return nil, err
	}
	if err := soundCommit(o); err != nil {
		return nil, gitFault("SLU-GIT-015", "the commit is malformed", err.Error(), "run `git fsck` on the repository", nil)
	}
	commit, root, err := newCommit(o)
	if err != nil {
		return nil, gitFault("SLU-GIT-015", "the commit is malformed", "", "run `git fsck` on the repository", nil)
	}
	if _, err := s.directory(root); err != nil {
		return nil, err
	}
	if keep {
		if err := s.setHead(t.commit, false); err != nil {
			return nil, err
		}
	}
	return &Revision{Name: t.name(), Commit: commit, Tree: &gitTree{store: s, root: root}, tagName: t.tag, tag: t.tagObject()}, nil
}

// fetchCommit brings a pinned commit. A remote that serves single commits is asked for it alone; otherwise the branch,
// or without one every branch and tag, comes with its history.
func (m *Mirror) fetchCommit(ctx context.Context, r *remote, spec Spec, last *Revision) (*Revision, error) {
	if !plumbing.IsHash(spec.Commit) || strings.ToLower(spec.Commit) != spec.Commit {
		return nil, gitFault("SLU-GIT-005", fmt.Sprintf("%q is no full commit hash", quoted(spec.Commit)), "", "write all 40 lower-case digits in spec.ref.commit: `git rev-parse <commit>`", nil)
	}
	commit := plumbing.NewHash(spec.Commit)
	t := target{want: commit, commit: commit}
	if spec.Branch != "" {
		t.label = branchOf(spec)
	}
	who := identity(spec)
	if m.shows(last, t) && m.fetched[m.store] == who {
		return last, nil
	}
	if err := m.bringCommit(ctx, r, spec, t); err != nil {
		return nil, err
	}
	m.fetched[m.store] = who
	if m.shows(last, t) {
		return last, nil
	}
	return m.revision(t, true)
}

func (m *Mirror) bringCommit(ctx context.Context, r *remote, spec Spec, t target) error {
	s, refs, err := r.open(ctx)
	if err != nil {
		return err
	}
	defer func() { s.close() }()
	tips, err := tipsFor(spec, refs)
	if err != nil {
		return err
	}
	if m.holds(t.commit) {
		return nil
	}
	if servesCommits(refs.Capabilities) || isTip(refs, t.commit) {
		err := m.fetch(ctx, r, s, refs, request{want: t.want, commit: t.commit})
		if err == nil || ctx.Err() != nil || isStorage(err) {
			return err
		}
		// The commit may not be reachable as the remote sees it, or the promise was hollow: ask for the history.
		s.close()
		if s, refs, err = r.open(ctx); err != nil {
			return err
		}
		if tips, err = tipsFor(spec, refs); err != nil {
			return err
		}
	}
	err = m.fetch(ctx, r, s, refs, request{want: tips[0], wants: tips[1:], commit: t.commit, whole: true})
	if errors.Is(err, errNotSent) {
		where := "any branch or tag"
		if spec.Branch != "" {
			where = fmt.Sprintf("branch %q", branchOf(spec))
		}
		return gitFault("SLU-GIT-005", "commit "+spec.Commit+" does not exist", "it is not in the history of "+where, "push it, or correct spec.ref.commit", nil)
	}
	return err
}

func isStorage(err error) bool {
	f := fault.From(err)
	return f != nil && f.Reason == reasonStorage
}
