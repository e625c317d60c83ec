package local

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/lazyregexp"
	"github.com/sluice-gitops/sluice/internal/local/state"
)

// What a platform needs of its machine.
const (
	minDisk   = 200 << 20
	minMemory = 1200 << 20
	minGit    = 230 // 2.30: init -b, and push options of the smart HTTP server
)

// machine is what preflight looks at, replaceable in tests.
type machine struct {
	now    func() time.Time
	git    func(context.Context) (string, error) // `git version`
	disk   func(dir string) (free uint64, err error)
	memory func() (available uint64, ok bool)
}

func thisMachine() machine {
	return machine{now: time.Now, git: gitVersion, disk: freeDisk, memory: availableMemory}
}

// check looks at everything that can be known before anything is started. Warnings go to sink.
func (m machine) check(ctx context.Context, d state.Dir, sink event.Sink) error {
	if err := m.checkGit(ctx); err != nil {
		return err
	}
	if free, err := m.disk(string(d)); err == nil && free < minDisk {
		return &fault.Fault{Code: "SLU-PLATFORM-006", Hop: fault.HopPlatform, Object: string(d),
			Seen: fmt.Sprintf("only %d MB are free on the state folder's disk", free>>20), Why: "a platform needs about 200 MB",
			Fix: "free some space, or choose another disk: sluice up --state-dir DIR"}
	}
	if avail, ok := m.memory(); ok && avail < minMemory {
		event.Warning(sink, fmt.Sprintf("only %d MB of memory are available; a platform uses about 1.1 GB", avail>>20))
	}
	return m.checkClock(d, sink)
}

var gitNumbers = lazyregexp.New(`(\d+)\.(\d+)`)

func (m machine) checkGit(ctx context.Context) error {
	out, err := m.git(ctx)
	f := &fault.Fault{Code: "SLU-PLATFORM-062", Hop: fault.HopPlatform, Object: "git", Fix: "sudo apt-get install -y git (Debian, Ubuntu), or brew install git (macOS)", Err: err}
	if err != nil {
		f.Seen, f.Why = "git was not found on PATH", "the platform's Git server and the working copy need it"
		return f
	}
	n := gitNumbers.FindStringSubmatch(out)
	if n == nil {
		f.Seen = "git reports no version: " + out
		return f
	}
	major, _ := strconv.Atoi(n[1])
	minor, _ := strconv.Atoi(n[2])
	if major*100+minor < minGit {
		f.Seen, f.Why = "git "+n[0]+" is too old", "2.30 or newer is needed"
		return f
	}
	return nil
}

func gitVersion(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "git", "version").Output()
	return string(out), err
}

// checkClock compares the clock with what the platform's own files say about time. A clock that was set back makes
// certificates not valid yet; one far ahead makes them expired; etcd's leases only mind the first.
func (m machine) checkClock(d state.Dir, sink event.Sink) error {
	now := m.now()
	wrong := func(why string) error {
		return &fault.Fault{Code: "SLU-PLATFORM-063", Hop: fault.HopPlatform, Object: "clock", Seen: "this machine's clock says " + now.UTC().Format(time.RFC3339),
			Why: why, Fix: "set the clock, for instance with: sudo timedatectl set-ntp true"}
	}
	if now.Before(time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)) {
		return wrong("that is before this program was written")
	}
	for _, cert := range authorities(d) {
		switch name := cert.Subject.CommonName; {
		case now.Add(time.Minute).Before(cert.NotBefore):
			return wrong(fmt.Sprintf("the platform's certificate %q is valid only from %s", name, cert.NotBefore.Format(time.RFC3339)))
		case now.After(cert.NotAfter):
			return wrong(fmt.Sprintf("the platform's certificate %q was valid until %s; if the clock is right, sluice down --purge starts over", name, cert.NotAfter.Format(time.RFC3339)))
		}
	}
	if t := newest(d.Cluster()); t.After(now.Add(time.Minute)) {
		event.Warning(sink, "files of the cluster are newer than the clock, which was set back by "+t.Sub(now).Round(time.Second).String())
	}
	return nil
}

// authorities reads the platform's own CA certificates, those that exist.
func authorities(d state.Dir) []*x509.Certificate {
	var out []*x509.Certificate
	for _, pattern := range []string{filepath.Join(d.Emulator(), "*.pem"), filepath.Join(d.Emulator(), "*.crt"), filepath.Join(d.Cluster(), "pki", "*.crt")} {
		files, _ := filepath.Glob(pattern)
		for _, f := range files {
			raw, err := os.ReadFile(f)
			if err != nil {
				continue
			}
			for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
				if cert, err := x509.ParseCertificate(block.Bytes); err == nil && cert.IsCA {
					out = append(out, cert)
				}
			}
		}
	}
	return out
}

// newest gives the latest modification time below dir.
func newest(dir string) (t time.Time) {
	_ = filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := e.Info(); err == nil && info.ModTime().After(t) {
			t = info.ModTime()
		}
		return nil
	})
	return t
}

// isLocked tells that another process runs the platform.
func isLocked(err error) bool { return errors.Is(err, state.ErrLocked) }
