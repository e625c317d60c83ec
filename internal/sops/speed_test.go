package sops

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// megabyte is a Secret of 10,000 values, 1 MB of YAML.
func megabyte() string {
	r := rand.New(rand.NewPCG(1, 2))
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: Secret\nmetadata:\n    name: big\nstringData:\n")
	value := make([]byte, 86)
	for i := range 10000 {
		for j := range value {
			value[j] = letters[r.IntN(len(letters))]
		}
		fmt.Fprintf(&b, "    key%05d: %s\n", i, value)
	}
	return b.String()
}

func BenchmarkSealMegabyte(b *testing.B) {
	_, groups := newRing(b)
	plain := megabyte()
	b.ReportAllocs()
	for b.Loop() {
		seal(b, groups, YAML, plain, SealOptions{EncryptedRegex: "^(data|stringData)$"})
	}
}

func BenchmarkOpenMegabyte(b *testing.B) {
	ring, groups := newRing(b)
	sealed := []byte(seal(b, groups, YAML, megabyte(), SealOptions{EncryptedRegex: "^(data|stringData)$"}))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Open(b.Context(), ring, "", sealed, YAML, Enforce); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpenSecret opens what most documents are: a Secret of two values.
func BenchmarkOpenSecret(b *testing.B) {
	_, groups := newRing(b)
	key, err := NewSharedKey(b.Context(), SealOptions{Recipients: groups})
	if err != nil {
		b.Fatal(err)
	}
	const doc = "apiVersion: v1\nkind: Secret\nmetadata:\n    name: app-0001\nstringData:\n    user: app-0001\n    password: correct-horse-0001\n"
	sealed, err := Seal(b.Context(), []byte(doc), YAML, SealOptions{EncryptedRegex: "^(data|stringData)$", Shared: key})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Open(b.Context(), known{key.key}, "", sealed, YAML, Enforce); err != nil {
			b.Fatal(err)
		}
	}
}

// known is a Keyring that has the data key at hand.
type known struct{ key []byte }

func (k known) DataKey(context.Context, *Metadata) ([]byte, error) { return slices.Clone(k.key), nil }

// The bounds leave room for the next release of the parser, which makes most of them.
func TestOpeningASecretAllocatesLittleMoreThanParsingIt(t *testing.T) {
	_, groups := newRing(t)
	key, err := NewSharedKey(t.Context(), SealOptions{Recipients: groups})
	if err != nil {
		t.Fatal(err)
	}
	allocations := func(values int) float64 {
		doc := strings.Builder{}
		doc.WriteString("kind: Secret\nstringData:\n")
		for i := range values {
			fmt.Fprintf(&doc, "    key%05d: password-of-%d\n", i, i)
		}
		sealed, err := Seal(t.Context(), []byte(doc.String()), YAML, SealOptions{EncryptedRegex: "^(data|stringData)$", Shared: key})
		if err != nil {
			t.Fatal(err)
		}
		return testing.AllocsPerRun(5, func() {
			if _, err := Open(t.Context(), known{key.key}, "", sealed, YAML, Enforce); err != nil {
				t.Fatal(err)
			}
		})
	}
	few, many := allocations(10), allocations(1010)
	if each := (many - few) / 1000; few > 700 || each > 20 {
		t.Errorf("%.0f allocations for ten values, %.1f for each more", few, each)
	} else {
		t.Logf("%.0f allocations for ten values, %.1f for each more", few, each)
	}
}
