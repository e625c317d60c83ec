package metadata

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/internal/sops/tree"
)

func TestFlattenedKeysAreTakenApartAtEachSeparator(t *testing.T) {
	for key, want := range map[string]any{
		"a":                 tree.Branch{{Key: "a", Value: 1}},
		"a__map_b":          tree.Branch{{Key: "a", Value: tree.Branch{{Key: "b", Value: 1}}}},
		"a__list_0":         tree.Branch{{Key: "a", Value: []any{1}}},
		"a__list_0__map_b":  tree.Branch{{Key: "a", Value: []any{tree.Branch{{Key: "b", Value: 1}}}}},
		"a____map_b":        tree.Branch{{Key: "a__", Value: tree.Branch{{Key: "b", Value: 1}}}},
		"a___map_b":         tree.Branch{{Key: "a_", Value: tree.Branch{{Key: "b", Value: 1}}}},
		"__map_a":           tree.Branch{{Key: "", Value: tree.Branch{{Key: "a", Value: 1}}}},
		"a__mapb":           tree.Branch{{Key: "a__mapb", Value: 1}},
		"a__list_x__list_0": tree.Branch{{Key: "a", Value: []any{[]any{1}}}},
	} {
		if got, err := unflatten(tree.Branch{{Key: key, Value: 1}}); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %#v, %v", key, got, err)
		}
	}
}

// A file of one key of nothing but separators would take minutes, and a stack of hundreds of megabytes.
func TestFlattenedKeysHaveABound(t *testing.T) {
	for _, step := range []string{mapStep, listStep, "__"} {
		key := "a" + strings.Repeat(step, (5<<20)/len(step))
		if _, err := unflatten(tree.Branch{{Key: key, Value: 1}}); step != "__" && !errors.Is(err, ErrFlat) {
			t.Errorf("%s: %v", step, err)
		}
	}
}
