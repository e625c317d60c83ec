package render

import (
	"bytes"
	"context"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/fluxcd/pkg/ssa/utils"
)

// Flux writes kustomize's result as YAML and reads the objects back from it. We go by way of JSON; it must not show.
func TestObjectsAreWhatFluxReadsBack(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, file := range files {
		_, req := load(t, file)
		if req.Kustomization.Spec.PostBuild != nil || req.Kustomization.Spec.CommonMetadata != nil {
			continue
		}
		if _, err := Render(context.Background(), req); err != nil || filepath.Base(file) == "openapi.txtar" {
			continue // openapi's object has a list named items, which Flux takes for a list of objects
		}
		r := &renderer{req: req, rec: newRecorder(req.Tree), root: clamp(req.Path)}
		ours, err := r.render(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		built, err := r.build()
		if err != nil {
			t.Fatal(err)
		}
		text, err := built.AsYaml()
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := utils.ReadObjects(bytes.NewReader(text))
		if err != nil || len(theirs) != len(ours.Objects) {
			t.Fatalf("%s: %d objects, %d read back: %v", file, len(ours.Objects), len(theirs), err)
		}
		for i := range theirs {
			if !reflect.DeepEqual(ours.Objects[i].Object, theirs[i].Object) {
				t.Errorf("%s: got %#v, want %#v", file, ours.Objects[i].Object, theirs[i].Object)
			}
		}
		compared++
	}
	if compared < 10 {
		t.Errorf("only %d archives compared", compared)
	}
}
