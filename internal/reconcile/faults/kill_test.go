package faults

import (
	"fmt"
	"hash/fnv"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
)

// soak says that every point is wanted, not a sample.
var soak = os.Getenv("SLUICE_SOAK_FAULTS") != ""

// modes are the ways in which a request can go wrong without the API server being to blame.
var modes = []struct {
	name string
	do   func(s *story, c call) fault
}{
	{"killed before the request", func(s *story, c call) fault {
		return func(http.ResponseWriter, *http.Request, func() *http.Response) {
			s.crash(func() { s.check("killed before "+c.String(), false) })
			panic(http.ErrAbortHandler)
		}
	}},
	{"killed before the reply", func(s *story, c call) fault {
		return func(_ http.ResponseWriter, _ *http.Request, pass func() *http.Response) {
			pass()
			s.crash(func() { s.check("killed after "+c.String(), false) })
			panic(http.ErrAbortHandler)
		}
	}},
	{"the reply lost", func(s *story, c call) fault {
		return func(w http.ResponseWriter, r *http.Request, pass func() *http.Response) {
			pass()
			s.check("the reply lost of "+c.String(), false)
			panic(http.ErrAbortHandler)
		}
	}},
}

// tell runs the whole story, with each request that at picks going wrong, and returns the outcome and all writes.
func tell(t *testing.T, at func(s *story, c call) fault) (state string, writes []call) {
	s := newStory(newWorld(t))
	s.api.on(func(c call) fault { return at(s, c) })
	s.start()
	for _, phase := range []int{first, second, third} {
		s.enter(phase)
		s.settled()
		writes = append(writes, s.api.since(call.writes)...)
	}
	s.api.on(nil)
	s.quiet("infra", "apps")
	s.check("in the end", true)
	return s.state(), writes
}

// clean is a run in which nothing goes wrong.
var clean struct {
	sync.Once
	state  string
	points map[string]bool // every write, as String tells it
}

func cleanRun(t *testing.T) {
	t.Helper()
	clean.Do(func() {
		state, writes := tell(t, func(*story, call) fault { return nil })
		points := map[string]bool{}
		for _, c := range writes {
			points[c.String()] = true
		}
		if len(points) < 30 {
			t.Fatalf("a clean run has only %d writes: %v", len(points), writes)
		}
		clean.state, clean.points = state, points
	})
	if clean.state == "" {
		t.Fatal("no clean run to compare with")
	}
}

// share says whether one of n samples holds the point.
func share(point string, sample, n int) bool {
	h := fnv.New32a()
	_, _ = h.Write([]byte(point))
	return int(h.Sum32()%uint32(n)) == sample
}

// Wherever the process is killed, and whatever reply is lost, a story ends as it does when nothing goes wrong, and all
// the invariants hold on the way. One run takes many faults one after the other: each write of a clean run goes wrong
// once. The three modes share the points; SLUICE_SOAK_FAULTS gives each all of them, and each also a run of its own.
func TestAKillAtAnyWriteIsMendedByTheNextProcess(t *testing.T) {
	cleanRun(t)
	for i, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			hit := map[string]bool{}
			state, _ := tell(t, func(s *story, c call) fault {
				point := c.String()
				mu.Lock()
				defer mu.Unlock()
				if hit[point] || !clean.points[point] || !soak && !share(point, i, len(modes)) {
					return nil
				}
				hit[point] = true
				return mode.do(s, c)
			})
			sameAsClean(t, state)
			want := 0
			for point := range clean.points {
				if soak || share(point, i, len(modes)) {
					want++
				}
			}
			t.Logf("%d of %d points went wrong", len(hit), want)
			if len(hit) < want*2/3 {
				t.Errorf("only %d of %d points came up: %v", len(hit), want, hit)
			}
		})
	}
}

// The same with one fault a run.
func TestEachWriteThatGoesWrongAlone(t *testing.T) {
	cleanRun(t)
	var all []string
	for point := range clean.points {
		if soak || share(point, 0, 20) {
			all = append(all, point)
		}
	}
	missed := 0
	var mu sync.Mutex
	t.Run("points", func(t *testing.T) {
		for _, point := range all {
			for i, mode := range modes {
				if !soak && !share(point, i, len(modes)) {
					continue
				}
				t.Run(fmt.Sprint(mode.name, " ", strings.ReplaceAll(point, "/", "|")), func(t *testing.T) {
					t.Parallel()
					var once sync.Once
					hit := false
					state, _ := tell(t, func(s *story, c call) (f fault) {
						if c.String() == point {
							once.Do(func() { hit, f = true, mode.do(s, c) })
						}
						return f
					})
					sameAsClean(t, state)
					mu.Lock()
					defer mu.Unlock()
					if !hit {
						missed++ // how often a status is written depends on what is ready first
						t.Log("this run had no such request")
					}
				})
			}
		}
	})
	if missed*10 > len(all)*len(modes) {
		t.Errorf("%d of %d requests never came up", missed, len(all)*len(modes))
	}
}

func sameAsClean(t *testing.T, state string) {
	t.Helper()
	if state == clean.state {
		return
	}
	have, want := lines(state), lines(clean.state)
	for line := range have {
		if !want[line] {
			t.Errorf("only here: %s", line)
		}
	}
	for line := range want {
		if !have[line] {
			t.Errorf("only in a clean run: %s", line)
		}
	}
}

func lines(text string) map[string]bool {
	set := map[string]bool{}
	for _, line := range strings.Split(text, "\n") {
		set[line] = true
	}
	return set
}
