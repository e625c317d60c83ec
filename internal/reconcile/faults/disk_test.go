package faults

import (
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A disk that takes no more keeps nobody from being guarded, and its end is told: where even the mirror cannot be written
// the last revision stands; where only the archive for others can't, the new one is applied all the same. Once there is
// space, the next attempt brings what is missing.
//
// The disk is full by RLIMIT_FSIZE: writes beyond it fail as those on a full disk do, in this one process.
func TestAFullDiskIsToldAndOutlived(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ballast := make([]byte, 96<<10) // what doesn't compress, so that the archive is large and a change's pack is small
	r := rand.NewChaCha8([32]byte{})
	_, _ = r.Read(ballast)
	w.commit(map[string]string{"ballast.bin": string(ballast)})
	standing(t, w)
	before := w.uids()
	for _, full := range []struct {
		limit  uint64
		text   string
		before string // cm3 while the disk is full
		value  string
	}{{0, "file too large", "1", "2"}, {32 << 10, "artifact", "3", "3"}} {
		w.limit(full.limit)
		w.push(map[string]string{"a/cm3.yaml": configMap("cm3", full.value)})
		w.untilSource(metav1.ConditionFalse, full.text)
		w.hasValue("cm3", full.before)
		w.guarded("cm5", "1")
		w.limit(unix.RLIM_INFINITY)
		w.poke(w.repository())
		w.applied("a", "b")
		w.untilSource(metav1.ConditionTrue, w.rev)
		w.hasValue("cm3", full.value)
	}
	delete(before, "cm5")
	w.same(before)
	w.quiet("a", "b")
}

// limit bounds the size of the files that the process writes.
func (w *world) limit(size uint64) {
	w.t.Helper()
	if err := unix.Prlimit(w.pid(), unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: size, Max: unix.RLIM_INFINITY}, nil); err != nil {
		w.t.Fatal(err)
	}
}
