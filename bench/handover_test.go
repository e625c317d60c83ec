package main

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// TestHandOverWritesAndPrunesNothing lets Flux apply Kustomizations, Sluice take over, and Flux take them back.
// SLUICE_HANDOVER_APPS is their number, 20 by default; make soak takes 200.
func TestHandOverWritesAndPrunesNothing(t *testing.T) {
	log.SetLogger(logr.Discard())
	bin, err := filepath.Abs("bin")
	if err != nil {
		t.Fatal(err)
	}
	o := &options{bin: bin, temp: t.TempDir(), main: "..", apps: 20, objects: 10}
	if text := os.Getenv("SLUICE_HANDOVER_APPS"); text != "" {
		apps, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("SLUICE_HANDOVER_APPS: %v", err)
		}
		o.apps = apps
	}
	began := time.Now()
	done, err := o.handOvers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(done) != 2 {
		t.Fatalf("%d hand-overs, want both directions", len(done))
	}
	for _, h := range done {
		// The Namespace is one of them.
		if h.objects < o.apps*o.objects {
			t.Errorf("%s: only %d objects, want %d", h.work, h.objects, o.apps*o.objects)
		}
		if len(h.written)+len(h.pruned) > 0 || h.requests > 0 {
			t.Errorf("%s: %v write requests; written: %v; pruned: %v", h.work, h.requests, h.written, h.pruned)
		}
	}
	t.Logf("%d objects there and back in %.0f s", done[0].objects, time.Since(began).Seconds())
}
