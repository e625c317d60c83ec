package store

import (
	"bufio"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sluice-gitops/sluice/internal/fault"
)

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func wantFault(t *testing.T, err error, code string) {
	t.Helper()
	f := fault.From(err)
	if f == nil || f.Code != code || f.Hop != fault.HopPlatform || f.Fix == "" {
		t.Errorf("got %v, want fault %s with a fix", err, code)
	}
}

func addGroup(name string) func(*State) error {
	return func(s *State) error {
		s.Groups[Fold(name)] = &Group{Name: name}
		return nil
	}
}

func TestStateOutlivesAReopen(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	before := *s.State()
	if err := s.Update(addGroup("RG")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	after := open(t, dir).State()
	if after.Tenant != before.Tenant || after.Developer != before.Developer || after.Issuer() != before.Issuer() {
		t.Errorf("ids changed: %+v, was %+v", after, before)
	}
	if after.Groups["rg"] == nil {
		t.Error("the group is lost")
	}
}

func TestFolderAndFilesAreTheUsersAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.PutPrivateKey(SigningKey, key); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAFailedChangeChangesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	refused := errors.New("no")
	err := s.Update(func(state *State) error {
		state.Groups["x"] = &Group{Name: "x"}
		return refused
	})
	if !errors.Is(err, refused) || len(s.State().Groups) != 0 {
		t.Errorf("%v, groups %v", err, s.State().Groups)
	}
}

func TestAFullDiskLosesOnlyTheNewChange(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	if err := s.Update(addGroup("old")); err != nil {
		t.Fatal(err)
	}
	s.RefuseWrites(syscall.ENOSPC)
	if err := s.Update(addGroup("new")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v, want ENOSPC", err)
	}
	if s.State().Groups["new"] != nil {
		t.Error("a change that isn't on disk is visible")
	}
	state, err := Read(dir)
	if err != nil || state.Groups["old"] == nil || state.Groups["new"] != nil {
		t.Errorf("on disk: %v, %v", state, err)
	}
	s.RefuseWrites(nil)
	if err := s.Update(addGroup("new")); err != nil {
		t.Errorf("with space again: %v", err)
	}
}

func TestFailedWriteLeavesNoTemporaryFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "taken"), 0o700); err != nil { // a rename onto a folder fails
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(dir, "taken"), []byte("x")); err == nil {
		t.Fatal("no error")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, temporary+"*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestStatesThatCannotBeReadAreRefused(t *testing.T) {
	for name, tt := range map[string]struct{ content, code string }{
		"newer version": {`{"version": 2, "tenant": "t"}`, "SLU-PLATFORM-102"},
		"no JSON":       {`half a stat`, "SLU-PLATFORM-103"},
		"empty":         {``, "SLU-PLATFORM-103"},
		"no version":    {`{}`, "SLU-PLATFORM-103"},
		"wrong shape":   {`{"version": 1, "groups": 7}`, "SLU-PLATFORM-103"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, stateName)
			if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Open(dir)
			wantFault(t, err, tt.code)
			if after, _ := os.ReadFile(path); string(after) != tt.content {
				t.Errorf("the file was changed to %q", after)
			}
		})
	}
}

func TestFoldersThatCannotBeUsedAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(filepath.Join(file, "state"))
	wantFault(t, err, "SLU-PLATFORM-101")

	dir := t.TempDir()
	first := open(t, dir)
	_, err = Open(dir)
	wantFault(t, err, "SLU-PLATFORM-104")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

func TestPrivateKeysWithoutAVersionAreDropped(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{SigningKey, "kept", "orphan"} {
		if err := s.PutPrivateKey(id, key); err != nil {
			t.Fatal(err)
		}
	}
	err = s.Update(func(state *State) error {
		state.Vaults["v"] = &Vault{Name: "v", Keys: map[string]*Key{"k": {Name: "k", Versions: []*KeyVersion{{ID: "kept"}}}}}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	for id, want := range map[string]bool{SigningKey: true, "kept": true, "orphan": false} {
		got, err := s.PrivateKey(id)
		if want && (err != nil || !got.Equal(key)) || !want && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", id, err)
		}
	}
	if _, err := s.PrivateKey("../state"); err == nil {
		t.Error("an id may not leave the folder")
	}
}

func TestConcurrentChangesAllCount(t *testing.T) {
	s := open(t, t.TempDir())
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if err := s.Update(addGroup(strconv.Itoa(i))); err != nil {
				t.Error(err)
			}
			_ = s.State().Issuer()
		})
	}
	all.Wait()
	if n := len(s.State().Groups); n != 20 {
		t.Errorf("%d groups, want 20", n)
	}
}

const childDir = "SLUICE_TEST_STORE_DIR"

// TestKillNineKeepsEveryAcknowledgedChange kills a writing process again and again; what it had acknowledged is there.
func TestKillNineKeepsEveryAcknowledgedChange(t *testing.T) {
	dir, acknowledged := t.TempDir(), 0
	for round := range 5 {
		child := exec.Command(os.Args[0], "-test.run", "^TestStoreChild$")
		child.Env = append(os.Environ(), childDir+"="+dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for range 7 + round*3 {
			if !lines.Scan() {
				t.Fatal("the child ended by itself")
			}
			n, found := strings.CutPrefix(lines.Text(), "ack ")
			if !found {
				t.Fatalf("the child says %q", lines.Text())
			}
			if acknowledged, err = strconv.Atoi(n); err != nil {
				t.Fatal(err)
			}
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait()
		state, err := Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(state.Groups) < acknowledged {
			t.Fatalf("%d groups, %d acknowledged", len(state.Groups), acknowledged)
		}
	}
	s := open(t, dir)
	if left, _ := filepath.Glob(filepath.Join(dir, temporary+"*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if data, err := json.Marshal(s.State()); err != nil || len(data) == 0 {
		t.Error(err)
	}
}

// TestStoreChild is the process that the test above kills.
func TestStoreChild(t *testing.T) {
	dir := os.Getenv(childDir)
	if dir == "" {
		t.Skip("runs only as the child of another test")
	}
	s := open(t, dir)
	for {
		n := len(s.State().Groups) + 1
		if err := s.Update(addGroup(strconv.Itoa(n))); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stdout.WriteString("ack " + strconv.Itoa(n) + "\n"); err != nil {
			return
		}
	}
}
