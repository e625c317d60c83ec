package sops

import (
	"fmt"
	"math/rand/v2"
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
