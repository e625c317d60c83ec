package live

import (
	"fmt"
	"maps"
	"runtime"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
)

// TestAnObjectTakesLittleMemory measures what stays of an object that was applied, read to its end and watched.
func TestAnObjectTakesLittleMemory(t *testing.T) {
	const n = 5000
	c, err := New(&rest.Config{}, nil, Options{})
	must(t, err)
	k := c.kind(configMaps)
	k.ready = make(chan struct{})
	must(t, store{k}.Replace(nil, "1"))
	before := heap()
	for i := range n {
		u := object(i+10, fmt.Sprintf("0b5d3d4c-30a5-4bd4-b5f0-%012d", i), "1", false)
		u.SetName(fmt.Sprintf("an-object-with-a-name-of-usual-length-%05d", i))
		u.SetNamespace(fmt.Sprintf("namespace-%d", i/10))
		if _, ok := c.Settled(u); ok {
			t.Fatal("settled")
		}
		c.Left(owner, u, u, true)
		must(t, store{k}.Update(c.prints.see(u)))
	}
	each := (heap() - before) / n
	t.Logf("%d bytes for each object", each)
	if each > 600 {
		t.Errorf("%d bytes for each object", each)
	}
	runtime.KeepAlive(c)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkSee is what a watch event costs, less its decoding.
func BenchmarkSee(b *testing.B) {
	c, err := New(&rest.Config{}, nil, Options{})
	must(b, err)
	u := object(1, "u", "1", true)
	b.ReportAllocs()
	for b.Loop() {
		c.prints.see(u)
	}
}

// BenchmarkSettled is what an object costs whose reconcile finds nothing to do.
func BenchmarkSettled(b *testing.B) {
	c, err := New(&rest.Config{}, nil, Options{})
	must(b, err)
	k := c.kind(configMaps)
	k.ready = make(chan struct{})
	must(b, store{k}.Replace(nil, "1"))
	u := &unstructured.Unstructured{Object: maps.Clone(object(1, "u", "1", false).Object)}
	c.Settled(u)
	c.Left(owner, u, u, true)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := c.Settled(u); !ok {
			b.Fatal("not settled")
		}
	}
}
