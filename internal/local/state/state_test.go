package state

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/internal/fault"
)

func lookup(kv ...string) func(string) string {
	return func(k string) string {
		for i := 0; i < len(kv); i += 2 {
			if kv[i] == k {
				return kv[i+1]
			}
		}
		return ""
	}
}

func TestDefaultDirPrecedence(t *testing.T) {
	for _, tt := range []struct {
		flag string
		env  []string
		want Dir
	}{
		{"/f", []string{"SLUICE_STATE_DIR", "/e"}, "/f"},
		{"", []string{"SLUICE_STATE_DIR", "/e", "XDG_STATE_HOME", "/x"}, "/e"},
		{"", []string{"XDG_STATE_HOME", "/x", "HOME", "/h"}, "/x/sluice"},
		{"", []string{"HOME", "/h"}, "/h/.local/state/sluice"},
	} {
		if got, err := DefaultDir(tt.flag, lookup(tt.env...)); err != nil || got != tt.want {
			t.Errorf("DefaultDir(%q, %v) = %q, %v; want %q", tt.flag, tt.env, got, err, tt.want)
		}
	}
	if _, err := DefaultDir("", lookup()); fault.From(err) == nil {
		t.Errorf("without HOME: %v, want a fault", err)
	}
}

func TestCreateIsRepeatableAndPurgeRemovesAll(t *testing.T) {
	d := Dir(filepath.Join(t.TempDir(), "a", "b"))
	for range 2 {
		if err := Create(d); err != nil {
			t.Fatal(err)
		}
	}
	if err := Purge(d); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(string(d)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
	if err := Purge(d); err != nil {
		t.Errorf("purging nothing: %v", err)
	}
}

func TestForeignAndNewerFoldersAreLeftAlone(t *testing.T) {
	for name, tt := range map[string]struct{ file, content, code string }{
		"other files":    {"thesis.tex", "x", "SLU-PLATFORM-004"},
		"newer format":   {"version", strconv.Itoa(Format+1) + "\n", "SLU-PLATFORM-003"},
		"broken version": {"version", "beta", "SLU-PLATFORM-004"},
	} {
		t.Run(name, func(t *testing.T) {
			d := Dir(t.TempDir())
			if err := os.WriteFile(filepath.Join(string(d), tt.file), []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			for what, err := range map[string]error{"Create": Create(d), "Purge": Purge(d)} {
				if f := fault.From(err); f == nil || f.Code != tt.code || f.Fix == "" {
					t.Errorf("%s = %v, want %s with a fix", what, err, tt.code)
				}
			}
			entries, _ := os.ReadDir(string(d))
			if len(entries) != 1 {
				t.Errorf("the folder was touched: %v", entries)
			}
		})
	}
}

func TestUnusablePathsAreFaults(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, d := range []Dir{Dir(file), Dir(filepath.Join(file, "below")), "/proc/sluice"} {
		if f := fault.From(Create(d)); f == nil || f.Hop != fault.HopPlatform || f.Fix == "" {
			t.Errorf("Create(%s) = %v, want a platform fault with a fix", d, f)
		}
	}
}

func TestTheLockIsHeldOnce(t *testing.T) {
	d := Dir(t.TempDir())
	l, err := Acquire(d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Acquire(d); !errors.Is(err, ErrLocked) {
		t.Errorf("second Acquire = %v, want ErrLocked", err)
	}
	if err := l.Release(); err != nil {
		t.Fatal(err)
	}
	l, err = Acquire(d)
	if err != nil {
		t.Fatal(err)
	}
	l.Release()
}

func TestRecordSurvivesSaveAndLoad(t *testing.T) {
	d := Dir(t.TempDir())
	if r, err := Load(d); err != nil || r.State != Stopped {
		t.Fatalf("empty folder: %+v, %v", r, err)
	}
	k := NewKeeper(d, &Record{State: Starting})
	if err := k.Update(func(r *Record) {
		r.State = Ready
		r.Children = append(r.Children, Process{Name: "cluster", PID: 7, Start: "42"})
		r.Ports.Git = 80
	}); err != nil {
		t.Fatal(err)
	}
	r, err := Load(d)
	if err != nil || r.State != Ready || r.Children[0].Start != "42" || r.Ports.Git != 80 {
		t.Errorf("loaded %+v, %v", r, err)
	}
}

func TestPortsAreDistinctKeptAndRenewedOnDemand(t *testing.T) {
	var p Ports
	if err := p.Assign(false); err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, n := range p.all() {
		if *n.port == 0 || seen[*n.port] {
			t.Errorf("%s: port %d is zero or given twice", n.name, *n.port)
		}
		seen[*n.port] = true
	}
	kept := p
	if err := p.Assign(false); err != nil || p != kept {
		t.Errorf("ports moved from %v to %v", kept, p)
	}
	if err := p.Assign(true); err != nil || p == kept {
		t.Errorf("fresh ports are the old ones: %v", p)
	}
}

func TestATakenPortIsNamedWithItsOwner(t *testing.T) {
	var p Ports
	if err := p.Assign(false); err != nil {
		t.Fatal(err)
	}
	if err := p.Check(nil); err != nil {
		t.Fatalf("free ports: %v", err)
	}
	l, err := net.Listen("tcp", Loopback(p.Git))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f := fault.From(p.Check(func(int) string { return "nginx (pid 5)" }))
	if f == nil || !strings.Contains(f.Seen, strconv.Itoa(p.Git)) || !strings.Contains(f.Why, "nginx (pid 5)") || !strings.Contains(f.Fix, "--new-ports") {
		t.Errorf("fault = %v", f)
	}
}

func TestWriteFileLeavesNoTemporaryFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	if err := WriteFile(path, []byte("1"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(dir, "no", "x"), nil, 0o600); err == nil {
		t.Error("writing into an absent folder succeeds")
	}
	entries, _ := os.ReadDir(dir)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 || len(entries) != 1 {
		t.Errorf("%v %v %v", info, err, entries)
	}
}
