package reconcile

import (
	"fmt"
	"strconv"
	"testing"
)

func TestTheKustomizationThatACommitChangesGoesFirst(t *testing.T) {
	w := newWorld(t)
	w.options.Concurrent = 1
	w.stop()
	w.start()
	const n = 20
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("k%02d/cm.yaml", i)] = configMap(fmt.Sprintf("cm%02d", i), "1")
	}
	rev := w.push(files)
	w.source()
	var all []*Kustomization
	for i := range n {
		all = append(all, w.kustomization(fmt.Sprintf("k%02d", i), nil))
	}
	for _, k := range all {
		w.until(k, "True", rev)
	}
	rev = w.push(map[string]string{"k13/cm.yaml": configMap("cm13", "2")})
	// The API server numbers writes in their order.
	written := map[string]int{}
	for _, k := range all {
		got := w.until(k, "True", rev)
		rv, err := strconv.Atoi(got.ResourceVersion)
		if err != nil {
			t.Fatal(err)
		}
		written[k.Name] = rv
	}
	for name, rv := range written {
		if name != "k13" && rv < written["k13"] {
			t.Errorf("%s, which the commit does not change, was done before k13", name)
		}
	}
}
