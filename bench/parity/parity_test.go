package parity

import (
	"flag"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// atOnce is how many fixtures run at a time: most of their time is spent waiting.
const atOnce = 10

func TestSluiceLeavesWhatFluxLeaves(t *testing.T) {
	log.SetLogger(logr.Discard())
	w := startWorlds(t)
	all := readFixtures(t, w)
	if len(all) == 0 {
		t.Fatal("testdata holds no fixture")
	}
	var g errgroup.Group
	g.SetLimit(atOnce)
	for _, f := range all {
		g.Go(func() error {
			t.Run(f.name, func(t *testing.T) { (&play{worlds: w, fixture: f, t: t}).run() })
			return nil
		})
	}
	_ = g.Wait()
	if strings.Contains(flag.Lookup("test.run").Value.String(), "/") || t.Failed() {
		return // of some of the fixtures, nothing can be said about the list
	}
	for _, d := range differences {
		if !d.used.Load() {
			t.Errorf("no fixture needs the difference {%q, %q}: strike it, and its words in docs/compat.md", d.fixture, d.path)
		}
	}
}
