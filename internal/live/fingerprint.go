package live

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"hash"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gitops/sluice/internal/plan"
)

// digest is a keyed hash, so that it tells nothing about a Secret's values to who sees it.
type digest [16]byte

// printer makes digests under a key that no other process has.
type printer struct {
	key     []byte
	manager string // whose fields count

	taken  []plan.Manager // see plan.Options.TakeOver
	ignore *sync.Map      // plan.Owner → plan.Ignore
}

func newPrinter(manager string) printer {
	key := make([]byte, 32)
	rand.Read(key) // never fails
	return printer{key, manager, plan.TakenOver, &sync.Map{}}
}

// sum is a digest being made. Every value is written with its kind and length, so that no two structures run together.
type sum struct {
	hash.Hash
	buf []byte
}

func (p printer) sum() *sum { return &sum{Hash: hmac.New(sha256.New, p.key)} }

func (s *sum) digest() (d digest) {
	copy(d[:], s.Sum(nil))
	return d
}

func (s *sum) bits(kind byte, n uint64) {
	s.buf = binary.BigEndian.AppendUint64(append(s.buf[:0], kind), n)
	s.Write(s.buf)
}

func (s *sum) text(kind byte, t string) {
	s.bits(kind, uint64(len(t)))
	s.buf = append(s.buf[:0], t...)
	s.Write(s.buf)
}

// value adds a decoded JSON value.
func (s *sum) value(v any) {
	switch v := v.(type) {
	case nil:
		s.bits('n', 0)
	case bool:
		if v {
			s.bits('b', 1)
		} else {
			s.bits('b', 0)
		}
	case string:
		s.text('s', v)
	case int64:
		s.bits('i', uint64(v))
	case float64:
		s.bits('f', math.Float64bits(v))
	case map[string]any:
		s.bits('m', uint64(len(v)))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			s.text('k', k)
			s.value(v[k])
		}
	case []any:
		s.bits('l', uint64(len(v)))
		for _, e := range v {
			s.value(e)
		}
	default: // an int of a hand-made object, say
		raw, _ := json.Marshal(v)
		s.text('j', string(raw))
	}
}

// desired digests a whole manifest.
func (p printer) desired(u *unstructured.Unstructured) digest {
	s := p.sum()
	s.value(u.Object)
	return s.digest()
}

// fields is a node of a managedFields entry's fieldsV1, as decoded: the names below it, or nothing where the entry owns
// the whole value.
type fields = map[string]any

// live digests what an apply looks at in a live object: the fields that our manager owns with the fact that it owns them,
// the marks that rule how the object is treated, and what earlier appliers left that an apply would take over. Defaults
// and other managers' fields are left out.
func (p printer) live(u *unstructured.Unstructured) digest {
	ours, others := p.entries(u)
	s := p.sum()
	if ours == nil {
		s.bits('0', 0)
	} else {
		s.owned(ours, u.Object, others)
	}
	labels, annotations := u.GetLabels(), u.GetAnnotations()
	for _, key := range []string{plan.KeySSA, plan.KeyReconcile} {
		s.text('M', labels[key])
		s.text('M', annotations[key])
	}
	for _, l := range plan.Leftovers(u) {
		s.text('L', l.Key)
	}
	for _, name := range p.foreign(u) {
		s.text('F', name)
	}
	return s.digest()
}

// whole digests all of a live object that a manifest can mean, whoever owns it.
func (p printer) whole(u *unstructured.Unstructured) digest {
	s := p.sum()
	for _, key := range slices.Sorted(maps.Keys(u.Object)) {
		if key != "metadata" && key != "status" {
			s.text('k', key)
			s.value(u.Object[key])
		}
	}
	metadata, _ := u.Object["metadata"].(map[string]any)
	for _, key := range []string{"labels", "annotations", "finalizers", "ownerReferences"} {
		s.value(metadata[key])
	}
	return s.digest()
}

// entries returns the fields that our manager has applied, nil if it has none, and those of all others.
func (p printer) entries(u *unstructured.Unstructured) (ours fields, others []fields) {
	for e := range managers(u) {
		set, _ := e["fieldsV1"].(fields)
		switch {
		case p.ours(e):
			ours = set
		case set != nil:
			others = append(others, set)
		}
	}
	return ours, others
}

func (p printer) ours(e map[string]any) bool {
	return e["manager"] == p.manager && e["operation"] == string(metav1.ManagedFieldsOperationApply) && plain(e)
}

// plain says whether the entry is for the object itself, not for a subresource.
func plain(e map[string]any) bool {
	sub, _ := e["subresource"].(string)
	return sub == ""
}

// managers iterates over the managedFields entries as they are decoded. The typed form would cost a JSON round trip.
func managers(u *unstructured.Unstructured) func(func(map[string]any) bool) {
	metadata, _ := u.Object["metadata"].(map[string]any)
	list, _ := metadata["managedFields"].([]any)
	return func(yield func(map[string]any) bool) {
		for _, e := range list {
			if e, ok := e.(map[string]any); ok && !yield(e) {
				return
			}
		}
	}
}

// foreign returns the managers whose fields an apply takes over.
func (p printer) foreign(u *unstructured.Unstructured) []string {
	var names []string
	for e := range managers(u) {
		name, _ := e["manager"].(string)
		op, _ := e["operation"].(string)
		taken := slices.ContainsFunc(p.taken, func(m plan.Manager) bool {
			return string(m.Operation) == op && strings.HasPrefix(name, m.Prefix)
		})
		if taken && plain(e) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// culprit returns the manager other than ours that changed the object last, if that was not before our last change. A
// manager that only removed fields leaves no trace.
func (p printer) culprit(u *unstructured.Unstructured) string {
	var name, newest, own string
	for e := range managers(u) {
		at, _ := e["time"].(string) // RFC 3339 in UTC: orders as text
		switch {
		case p.ours(e):
			own = at
		case e["subresource"] != "status" && at >= newest:
			newest = at
			name, _ = e["manager"].(string)
		}
	}
	if newest < own {
		return ""
	}
	return name
}

// owned adds the node's names and the values that stand under them in v. others are the same node in other managers'
// entries.
func (s *sum) owned(node fields, v any, others []fields) {
	if len(node) == 0 {
		s.whole(v, others)
		return
	}
	if list, ok := v.([]any); ok {
		s.items(node, list, others)
		return
	}
	m, _ := v.(map[string]any)
	s.bits('M', uint64(len(node)))
	for _, key := range slices.Sorted(maps.Keys(node)) {
		s.text('k', key)
		name, ok := strings.CutPrefix(key, "f:")
		if !ok {
			continue // ".": the map itself; or a list's item where there is no list
		}
		child, present := m[name]
		if !present {
			s.bits('a', 0)
			continue
		}
		sub, _ := node[key].(fields)
		s.owned(sub, child, below(others, key))
	}
}

// items adds the owned items of a list in the order in which they stand: an apply would restore it.
func (s *sum) items(node fields, list []any, others []fields) {
	type item struct {
		at  int // -1: not in the list
		key string
	}
	items := make([]item, 0, len(node))
	for key := range node {
		items = append(items, item{find(list, key), key})
	}
	slices.SortFunc(items, func(a, b item) int {
		if a.at != b.at {
			return a.at - b.at
		}
		return strings.Compare(a.key, b.key)
	})
	s.bits('I', uint64(len(items)))
	for _, it := range items {
		s.text('k', it.key)
		if it.at < 0 {
			s.bits('a', 0)
			continue
		}
		sub, _ := node[it.key].(fields)
		s.owned(sub, list[it.at], below(others, it.key))
	}
}

// find returns the index of the item that a name in fieldsV1 stands for: "k:" and the key fields, "v:" and the value, or
// "i:" and the index. -1: there is none.
func find(list []any, name string) int {
	kind, rest, _ := strings.Cut(name, ":")
	switch kind {
	case "i":
		if i, err := strconv.Atoi(rest); err == nil && i >= 0 && i < len(list) {
			return i
		}
	case "v":
		var want any
		if json.Unmarshal([]byte(rest), &want) == nil {
			return slices.IndexFunc(list, func(v any) bool { return same(v, want) })
		}
	case "k":
		var want map[string]any
		if json.Unmarshal([]byte(rest), &want) == nil {
			return slices.IndexFunc(list, func(v any) bool {
				m, ok := v.(map[string]any)
				for k, w := range want {
					ok = ok && same(m[k], w)
				}
				return ok
			})
		}
	}
	return -1
}

// same compares a value of an object with one that encoding/json decoded, which knows no integers.
func same(v, decoded any) bool {
	if n, ok := v.(int64); ok {
		v = float64(n)
	}
	return reflect.DeepEqual(v, decoded)
}

// whole adds a value that is owned as one. If others own parts of it, it is no atom: it was empty when it was applied,
// and those parts are not ours.
func (s *sum) whole(v any, others []fields) {
	switch value := v.(type) {
	case map[string]any:
		theirs := func(k string, _ any) bool {
			return slices.ContainsFunc(others, func(o fields) bool { return o["f:"+k] != nil })
		}
		if len(value) > 0 && len(others) > 0 {
			value = maps.Clone(value)
			maps.DeleteFunc(value, theirs)
		}
		s.value(value)
	case []any:
		if len(value) > 0 && slices.ContainsFunc(others, func(o fields) bool { return len(o) > 0 }) {
			value = nil
		}
		s.value(value)
	default:
		s.value(v)
	}
}

func below(others []fields, key string) []fields {
	var subs []fields
	for _, o := range others {
		if sub, ok := o[key].(fields); ok {
			subs = append(subs, sub)
		}
	}
	return subs
}
