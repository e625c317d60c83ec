package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/internal/fault"
)

func TestUnchangedRemoteCostsOneRequestAndReturnsLast(t *testing.T) {
	h := newHost(t, nil)
	hash := h.commit(t, map[string]string{"a/b.yaml": "one"})
	m, spec := openMirror(t), Spec{URL: h.url(), Branch: "main"}
	first := fetch(t, m, spec, nil)
	if got := h.taken(); len(got) != 2 {
		t.Errorf("the first fetch took %q, want a listing and a pack", got)
	}
	if want := "main@sha1:" + hash; first.Name != want {
		t.Errorf("name %s, want %s", first.Name, want)
	}
	c := first.Commit
	if c.Hash != hash || c.Author != "Ada" || c.Email != "ada@example.org" || c.Subject != "change something" || time.Since(c.When) > time.Hour {
		t.Errorf("commit %+v", c)
	}
	if again := fetch(t, m, spec, first); again != first {
		t.Error("an unchanged remote gave another revision")
	}
	if got := h.taken(); len(got) != 1 {
		t.Errorf("an unchanged remote took %q, want one request", got)
	}
}

func TestChangeBringsOnlyNewObjectsAndOldRevisionsStayReadable(t *testing.T) {
	h := newHost(t, nil)
	files := map[string]string{}
	for i := range 50 {
		files[fmt.Sprintf("apps/%02d/deploy.yaml", i)] = fmt.Sprintf("content %d", i)
	}
	h.commit(t, files)
	m, spec := openMirror(t), Spec{URL: h.url(), Branch: "main"}
	old := fetch(t, m, spec, nil)
	h.taken()
	h.commit(t, map[string]string{"apps/07/deploy.yaml": "changed"})
	now := fetch(t, m, spec, old)
	if got := h.taken(); len(got) != 2 {
		t.Errorf("a change took %q, want a listing and a pack", got)
	}
	packs := *m.store.packs.Load()
	if n, _ := packs[len(packs)-1].index.Count(); n > 6 {
		t.Errorf("the second pack has %d objects, want those of one path", n)
	}
	if got := content1(t, now, "apps/07/deploy.yaml"); got != "changed" {
		t.Errorf("new revision reads %q", got)
	}
	if got := content1(t, old, "apps/07/deploy.yaml"); got != "content 7" {
		t.Errorf("old revision reads %q", got)
	}
	for _, path := range []string{"apps/08", "apps/07"} {
		a, err1 := Stat(old.Tree, path)
		b, err2 := Stat(now.Tree, path)
		if err1 != nil || err2 != nil || (a.Hash == b.Hash) != (path == "apps/08") {
			t.Errorf("%s: hashes %s and %s (%v, %v)", path, a.Hash, b.Hash, err1, err2)
		}
	}
	fsck(t, m)
}

// fsck lets git itself judge the store.
func fsck(t *testing.T, m *Mirror) {
	t.Helper()
	git(t, "", "--git-dir="+m.store.dir, "fsck", "--strict", "--no-dangling")
}

func TestReferenceForms(t *testing.T) {
	h := newHost(t, nil)
	one := h.commit(t, map[string]string{"f": "one"})
	git(t, h.work, "tag", "v1.0.0")
	git(t, h.work, "push", "-q", "origin", "v1.0.0", "HEAD:refs/heads/master", "HEAD:refs/pull/7/head")
	two := h.commit(t, map[string]string{"f": "two"})
	git(t, h.work, "tag", "-a", "-m", "annotated", "v1.2.0")
	git(t, h.work, "tag", "v2.0.0-rc.1")
	git(t, h.work, "push", "-q", "origin", "--tags")
	three := h.commit(t, map[string]string{"f": "three"})
	for _, tt := range []struct {
		name     string
		spec     Spec
		want     string
		contents string
	}{
		{"nothing given is master", Spec{}, "master@sha1:" + one, "one"},
		{"branch", Spec{Branch: "main"}, "main@sha1:" + three, "three"},
		{"light tag", Spec{Tag: "v1.0.0"}, "v1.0.0@sha1:" + one, "one"},
		{"annotated tag gives the commit", Spec{Tag: "v1.2.0"}, "v1.2.0@sha1:" + two, "two"},
		{"semver skips pre-releases", Spec{SemVer: ">=1.0.0"}, "v1.2.0@sha1:" + two, "two"},
		{"semver caret", Spec{SemVer: "~1.0"}, "v1.0.0@sha1:" + one, "one"},
		{"semver pre-release", Spec{SemVer: ">=2.0.0-0"}, "v2.0.0-rc.1@sha1:" + two, "two"},
		{"name of a branch", Spec{Name: "refs/heads/main"}, "refs/heads/main@sha1:" + three, "three"},
		{"name of a pull request", Spec{Name: "refs/pull/7/head"}, "refs/pull/7/head@sha1:" + one, "one"},
		{"commit alone", Spec{Commit: two}, "sha1:" + two, "two"},
		{"commit of a branch", Spec{Commit: two, Branch: "main"}, "main@sha1:" + two, "two"},
		{"name wins over tag and branch", Spec{Name: "refs/heads/main", Tag: "v1.0.0", Branch: "x"}, "refs/heads/main@sha1:" + three, "three"},
		{"semver wins over tag", Spec{SemVer: "1.0.0", Tag: "v1.2.0"}, "v1.0.0@sha1:" + one, "one"},
		{"commit wins over name", Spec{Commit: one, Name: "refs/heads/main"}, "sha1:" + one, "one"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := openMirror(t)
			tt.spec.URL = h.url()
			rev := fetch(t, m, tt.spec, nil)
			if rev.Name != tt.want || content1(t, rev, "f") != tt.contents {
				t.Errorf("got %s with %q, want %s with %q", rev.Name, content1(t, rev, "f"), tt.want, tt.contents)
			}
			h.taken()
			if again := fetch(t, m, tt.spec, rev); again != rev {
				t.Errorf("fetched again: %s, not last itself", again.Name)
			}
			if got := h.taken(); tt.spec.Commit != "" && len(got) != 0 || tt.spec.Commit == "" && len(got) != 1 {
				t.Errorf("unchanged took %q", got)
			}
			fsck(t, m)
		})
	}
}

func TestCommitComesWithHistoryWhereSingleOnesAreNotServed(t *testing.T) {
	h := newHost(t, nil)
	for _, key := range []string{"uploadpack.allowReachableSHA1InWant", "uploadpack.allowTipSHA1InWant"} {
		git(t, h.bare, "config", key, "false")
	}
	one := h.commit(t, map[string]string{"f": "one"})
	h.commit(t, map[string]string{"f": "two"})
	for _, branch := range []string{"main", ""} {
		m := openMirror(t)
		rev := fetch(t, m, Spec{URL: h.url(), Commit: one, Branch: branch}, nil)
		if got := content1(t, rev, "f"); got != "one" {
			t.Errorf("branch %q: read %q", branch, got)
		}
		f := refused(t, m, Spec{URL: h.url(), Commit: strings.Repeat("1", 40), Branch: branch}, "SLU-GIT-005")
		contains(t, f.Error(), strings.Repeat("1", 40), "does not exist")
		if got := content1(t, rev, "f"); got != "one" {
			t.Errorf("after a failed fetch the revision reads %q", got)
		}
	}
}

func TestPromiseOfSingleCommitsThatIsNotKeptFallsBack(t *testing.T) {
	h := newHost(t, nil)
	h.commit(t, map[string]string{"f": "one"})
	git(t, h.work, "commit", "-q", "--amend", "-m", "amended")
	lost := git(t, h.work, "rev-parse", "HEAD")
	f := refused(t, openMirror(t), Spec{URL: h.url(), Commit: lost, Branch: "main"}, "SLU-GIT-005")
	contains(t, f.Error(), lost, `branch "main"`)
	refused(t, openMirror(t), Spec{URL: h.url(), Commit: "abc123"}, "SLU-GIT-005")
}

func TestForcePushAndReturnAreFollowed(t *testing.T) {
	h := newHost(t, nil)
	h.commit(t, map[string]string{"f": "base"})
	one := h.commit(t, map[string]string{"f": "one"})
	m, spec := openMirror(t), Spec{URL: h.url(), Branch: "main"}
	first := fetch(t, m, spec, nil)
	git(t, h.work, "reset", "-q", "--hard", "HEAD~1")
	two := h.commit(t, map[string]string{"f": "rewritten"})
	second := fetch(t, m, spec, first)
	if second.Commit.Hash != two || content1(t, second, "f") != "rewritten" {
		t.Errorf("after a force push: %s", second.Name)
	}
	git(t, h.work, "push", "-q", "--force", "origin", one+":main")
	h.taken()
	third := fetch(t, m, spec, second)
	if third.Name != first.Name || content1(t, third, "f") != "one" {
		t.Errorf("after going back: %s", third.Name)
	}
	if got := h.taken(); len(got) != 1 {
		t.Errorf("going back to a commit that is held took %q", got)
	}
	git(t, h.work, "push", "-q", "--force", "origin", one+"~1:main") // older than anything held
	if rev := fetch(t, m, spec, third); content1(t, rev, "f") != "base" {
		t.Errorf("rolled back: reads %q", content1(t, rev, "f"))
	}
	fsck(t, m)
}

func TestUnknownReferenceNamesTheNearest(t *testing.T) {
	h := newHost(t, nil)
	h.commit(t, map[string]string{"f": "one"})
	git(t, h.work, "tag", "v1.0.0")
	git(t, h.work, "push", "-q", "origin", "--tags", "HEAD:refs/heads/staging", "HEAD:refs/heads/production", "HEAD:refs/heads/zzz")
	m := openMirror(t)
	f := refused(t, m, Spec{URL: h.url(), Branch: "stagging"}, "SLU-GIT-005")
	contains(t, f.Why, "staging")
	f = refused(t, m, Spec{URL: h.url()}, "SLU-GIT-005")
	contains(t, f.Seen, `"master"`)
	contains(t, f.Fix, "spec.ref.branch: main")
	f = refused(t, m, Spec{URL: h.url(), Tag: "1.0.0"}, "SLU-GIT-005")
	contains(t, f.Why, "v1.0.0")
	refused(t, m, Spec{URL: h.url(), SemVer: ">9"}, "SLU-GIT-005")
	refused(t, m, Spec{URL: h.url(), SemVer: "not a range"}, "SLU-GIT-005")
	refused(t, m, Spec{URL: h.url(), Name: "refs/pull/1/head"}, "SLU-GIT-005")
}

func TestDeletedBranchIsAFaultAndTheLastRevisionReadsOn(t *testing.T) {
	h := newHost(t, nil)
	h.commit(t, map[string]string{"f": "one"})
	git(t, h.work, "push", "-q", "origin", "HEAD:refs/heads/feature")
	m, spec := openMirror(t), Spec{URL: h.url(), Branch: "feature"}
	rev := fetch(t, m, spec, nil)
	git(t, h.work, "push", "-q", "origin", ":refs/heads/feature")
	refused(t, m, spec, "SLU-GIT-005")
	if got := content1(t, rev, "f"); got != "one" {
		t.Errorf("reads %q", got)
	}
}

func TestEmptyRepositoryIsAFault(t *testing.T) {
	h := newHost(t, nil)
	refused(t, openMirror(t), Spec{URL: h.url()}, "SLU-GIT-012")
	refused(t, openMirror(t), Spec{URL: h.url(), Commit: strings.Repeat("a", 40)}, "SLU-GIT-012")
}

func TestReopenedMirrorNeedsOneRequest(t *testing.T) {
	h := newHost(t, nil)
	h.commit(t, map[string]string{"f": "one"})
	m, spec := openMirror(t), Spec{URL: h.url(), Branch: "main"}
	first := fetch(t, m, spec, nil)
	h.taken()
	again, err := OpenMirror(m.dir)
	if err != nil {
		t.Fatal(err)
	}
	rev := fetch(t, again, spec, nil)
	if rev.Name != first.Name || content1(t, rev, "f") != "one" {
		t.Errorf("reopened: %s", rev.Name)
	}
	if got := h.taken(); len(got) != 1 {
		t.Errorf("reopening took %q, want one request", got)
	}
}

func TestDamagedStoreIsFetchedAnew(t *testing.T) {
	damage := map[string]func(t *testing.T, pack string){
		"truncated": func(t *testing.T, pack string) { check(t, os.Truncate(pack, 60)) },
		"empty":     func(t *testing.T, pack string) { check(t, os.Truncate(pack, 0)) },
		"flipped": func(t *testing.T, pack string) {
			data, err := os.ReadFile(pack)
			check(t, err)
			data[len(data)/2] ^= 0xff
			check(t, os.Chmod(pack, 0o600))
			check(t, os.WriteFile(pack, data, 0o600))
		},
		"no index": func(t *testing.T, pack string) { check(t, os.Remove(strings.TrimSuffix(pack, ".pack")+".idx")) },
		"bad index": func(t *testing.T, pack string) {
			check(t, os.WriteFile(strings.TrimSuffix(pack, ".pack")+".idx", []byte("nonsense"), 0o600))
		},
		"no HEAD": func(t *testing.T, pack string) { check(t, os.Remove(filepath.Join(filepath.Dir(pack), "../../HEAD"))) },
	}
	h := newHost(t, nil)
	h.commit(t, map[string]string{"f": strings.Repeat("one", 1000), "g": "two"})
	spec := Spec{URL: h.url(), Branch: "main"}
	for name, harm := range damage {
		t.Run(name, func(t *testing.T) {
			m := openMirror(t)
			fetch(t, m, spec, nil)
			packs, _ := filepath.Glob(filepath.Join(m.store.dir, "objects/pack/*.pack"))
			if len(packs) != 1 {
				t.Fatalf("packs %q", packs)
			}
			harm(t, packs[0])
			m, err := OpenMirror(m.dir)
			check(t, err)
			h.taken()
			rev := fetch(t, m, spec, nil)
			if content1(t, rev, "g") != "two" {
				t.Error("the rebuilt store reads wrong")
			}
			if got := h.taken(); len(got) != 2 {
				t.Errorf("rebuilding took %q, want a listing and a pack", got)
			}
			fsck(t, m)
			if entries, _ := os.ReadDir(m.dir); len(entries) != 1 {
				t.Errorf("%d stores on disk, want one", len(entries))
			}
		})
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestStoreDamagedInUseIsFetchedAnewThoughNothingMoved(t *testing.T) {
	h := newHost(t, nil)
	h.commit(t, map[string]string{"f": strings.Repeat("one", 1000)})
	m, spec := openMirror(t), Spec{URL: h.url(), Branch: "main"}
	rev := fetch(t, m, spec, nil)
	packs, _ := filepath.Glob(filepath.Join(m.store.dir, "objects/pack/*.pack"))
	check(t, os.Truncate(packs[0], 30))
	m.store.objects.Clear()
	_, _, err := rev.Tree.ReadFile("f")
	if f := fault.From(err); f == nil || f.Code != "SLU-GIT-010" || errors.Is(err, os.ErrNotExist) {
		t.Fatalf("reading a truncated pack = %v, want a fault that is not a missing file", err)
	}
	again := fetch(t, m, spec, rev)
	if again == rev || again.Name != rev.Name || len(content1(t, again, "f")) != 3000 {
		t.Errorf("after damage: %v", again.Name)
	}
}

func TestFullDiskLeavesTheOldRevision(t *testing.T) {
	h := newHost(t, nil)
	h.commit(t, map[string]string{"f": "one"})
	m, spec := openMirror(t), Spec{URL: h.url(), Branch: "main"}
	rev := fetch(t, m, spec, nil)
	h.commit(t, map[string]string{"f": "two"})
	for _, room := range []int{0, 40, 300} { // in the pack, and in the index
		m.limit = func(w io.Writer) io.Writer { return &fullDisk{w, room} }
		_, err := m.Fetch(t.Context(), spec, rev)
		if f := fault.From(err); f == nil || f.Reason != reasonStorage || !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("room %d: Fetch = %v, want a storage fault", room, err)
		}
		if got := content1(t, rev, "f"); got != "one" {
			t.Errorf("room %d: reads %q", room, got)
		}
		if left, _ := filepath.Glob(filepath.Join(m.store.dir, "objects/pack/tmp_*")); len(left) > 0 {
			t.Errorf("room %d: left behind %q", room, left)
		}
	}
	m.limit = func(w io.Writer) io.Writer { return w }
	if got := content1(t, fetch(t, m, spec, rev), "f"); got != "two" {
		t.Errorf("with room again: reads %q", got)
	}
}

type fullDisk struct {
	w    io.Writer
	room int
}

func (d *fullDisk) Write(p []byte) (int, error) {
	if d.room -= len(p); d.room < 0 {
		return 0, &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
	}
	return d.w.Write(p)
}

func TestStoreIsBegunAnewAfterManyPacks(t *testing.T) {
	h := newHost(t, nil)
	m, spec := openMirror(t), Spec{URL: h.url(), Branch: "main"}
	var revs []*Revision
	var last *Revision
	for i := range maxPacks + 3 {
		h.commit(t, map[string]string{"f": fmt.Sprint("content ", i)})
		last = fetch(t, m, spec, last)
		revs = append(revs, last)
	}
	if n := m.store.count(); n > 3 {
		t.Errorf("%d packs, want a new store", n)
	}
	if entries, _ := os.ReadDir(m.dir); len(entries) != 1 {
		t.Errorf("%d stores on disk, want one", len(entries))
	}
	for i, rev := range revs {
		if want := fmt.Sprint("content ", i); content1(t, rev, "f") != want {
			t.Errorf("revision %d reads %q", i, content1(t, rev, "f"))
		}
	}
	fsck(t, m)
}

func TestDeadlineEndsAFetchThatHangs(t *testing.T) {
	h := newHost(t, nil)
	h.commit(t, map[string]string{"f": "one"})
	held := make(chan struct{})
	t.Cleanup(func() { close(held) }) // before the server's own Close, which waits for handlers
	h.answer(func(_ http.ResponseWriter, r *http.Request) bool {
		select {
		case <-held:
		case <-r.Context().Done():
		}
		return true
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := openMirror(t).Fetch(ctx, Spec{URL: h.url()}, nil)
	f := fault.From(err)
	if f == nil || f.Code != "SLU-GIT-008" || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Fetch = %v, want a timeout fault", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err := openMirror(t).Fetch(ctx, Spec{URL: h.url()}, nil); !errors.Is(err, context.Canceled) || fault.From(err) != nil {
		t.Errorf("Fetch = %v, want the cancellation and no fault", err)
	}
}

func TestConcurrentFetchesAndReads(t *testing.T) {
	h := newHost(t, nil)
	files := map[string]string{}
	for i := range 40 {
		files[fmt.Sprintf("d%d/f", i)] = strings.Repeat(fmt.Sprint(i), 500)
	}
	h.commit(t, files)
	m, spec := openMirror(t), Spec{URL: h.url(), Branch: "main"}
	rev := fetch(t, m, spec, nil)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 40 {
				path := fmt.Sprintf("d%d/f", (i+g*5)%40)
				if data, _, err := rev.Tree.ReadFile(path); err != nil || string(data) != files[path] {
					t.Errorf("%s: %v", path, err)
				}
			}
			if _, err := m.Fetch(t.Context(), spec, nil); err != nil {
				t.Error(err)
			}
		}()
	}
	for i := range 3 {
		h.commit(t, map[string]string{"new": fmt.Sprint(i)})
		rev2, err := m.Fetch(t.Context(), spec, nil)
		if err != nil || content1(t, rev2, "new") != fmt.Sprint(i) {
			t.Errorf("fetch %d: %v", i, err)
		}
	}
	wg.Wait()
}

func TestHostileReferenceNamesNeverBecomeFiles(t *testing.T) {
	h := newHost(t, nil)
	hash := h.commit(t, map[string]string{"f": "one"})
	names := []string{"refs/heads/../../config", "refs/heads/../../../escaped", "/etc/passwd", "refs/heads/a\\b", "HEAD.lock", "refs/heads/main"}
	slices.Sort(names)
	h.answer(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/info/refs") {
			return false
		}
		w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
		pkt := func(s string) { fmt.Fprintf(w, "%04x%s", len(s)+4, s) }
		pkt("# service=git-upload-pack\n")
		io.WriteString(w, "0000")
		for i, name := range names {
			caps := ""
			if i == 0 {
				caps = "\x00side-band-64k shallow ofs-delta symref=HEAD:refs/heads/../../config"
			}
			pkt(hash + " " + name + caps + "\n")
		}
		io.WriteString(w, "0000")
		return true
	})
	for _, spec := range []Spec{{Branch: "main"}, {Branch: "../../config"}, {Name: "refs/heads/../../../escaped"}, {Commit: hash}} {
		m := openMirror(t)
		spec.URL = h.url()
		rev, err := m.Fetch(t.Context(), spec, nil)
		if err != nil {
			t.Errorf("%+v: %v", spec, err)
			continue
		}
		if content1(t, rev, "f") != "one" {
			t.Error("wrong content")
		}
		var files []string
		_ = filepath.WalkDir(filepath.Dir(m.dir), func(path string, d os.DirEntry, _ error) error {
			if !d.IsDir() {
				rel, _ := filepath.Rel(filepath.Dir(m.dir), path)
				files = append(files, rel)
			}
			return nil
		})
		for _, f := range files {
			if ok := slices.Contains([]string{"mirror/g1/HEAD", "mirror/g1/config", "mirror/g1/shallow"}, f) || strings.HasPrefix(f, "mirror/g1/objects/pack/pack-"); !ok {
				t.Errorf("%+v wrote %s", spec, f)
			}
		}
		config, _ := os.ReadFile(filepath.Join(m.store.dir, "config"))
		contains(t, string(config), "bare = true")
	}
}
