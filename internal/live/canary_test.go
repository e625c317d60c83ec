package live

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"reflect"
	"testing"
	"unsafe"
)

// TestNoSecretValueIsKept searches everything that the cache reaches, unexported fields included, and what formatting it
// would print.
func TestNoSecretValueIsKept(t *testing.T) {
	const canary = "canary-d41d8cd98f00b204"
	w := begin(t, Options{}, configMaps, secrets)
	secret := `{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: NS, annotations: {note: seen}}, stringData: {k: ` + canary + `}}`
	w.apply(w.applier, owner, secret)
	w.patch("Secret", "s", "someone", `{"stringData":{"k":"`+canary+`-edited","other":"`+canary+`"}}`)
	w.drift()
	w.apply(w.applier, owner, secret)
	if got, n := w.apply(w.applier, owner, secret); n != 0 {
		t.Fatalf("%s by %d requests", got, n)
	}
	var b bytes.Buffer
	k := w.cache.kind(secrets)
	k.mu.Lock()
	defer k.mu.Unlock()
	for at, r := range k.records {
		if at.name == "s" && at.namespace == w.ns {
			texts(reflect.ValueOf(r), &b, map[unsafe.Pointer]bool{})
			fmt.Fprintf(&b, "%+v %v", *r, *r.left)
		}
	}
	texts(reflect.ValueOf(&w.cache.kinds), &b, map[unsafe.Pointer]bool{})
	texts(reflect.ValueOf(w.cache.drifts), &b, map[unsafe.Pointer]bool{})
	if !bytes.Contains(b.Bytes(), []byte(w.ns)) {
		t.Fatal("the search does not reach the records")
	}
	for _, s := range []string{canary, base64.StdEncoding.EncodeToString([]byte(canary))[:20], "seen"} {
		if bytes.Contains(b.Bytes(), []byte(s)) {
			t.Errorf("%q is kept", s)
		}
	}
}

// texts collects every string and byte slice that v reaches.
func texts(v reflect.Value, b *bytes.Buffer, seen map[unsafe.Pointer]bool) {
	switch v.Kind() {
	case reflect.String:
		fmt.Fprintln(b, v.String())
	case reflect.Pointer:
		if v.IsNil() || seen[v.UnsafePointer()] {
			return
		}
		seen[v.UnsafePointer()] = true
		texts(v.Elem(), b, seen)
	case reflect.Interface:
		texts(v.Elem(), b, seen)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[Cache]() { // its client and mapper hold no object
			return
		}
		for i := range v.NumField() {
			texts(v.Field(i), b, seen)
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			texts(it.Key(), b, seen)
			texts(it.Value(), b, seen)
		}
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			for i := range v.Len() {
				b.WriteByte(byte(v.Index(i).Uint()))
			}
			return
		}
		for i := range v.Len() {
			texts(v.Index(i), b, seen)
		}
	}
}
