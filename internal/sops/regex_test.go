package sops

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	getsops "github.com/getsops/sops/v3"
)

// chosen is a Cipher that notes which values it is given.
type chosen struct{ where []string }

func (c *chosen) Encrypt(v any, _ []byte, where string) (string, error) {
	c.where = append(c.where, fmt.Sprintf("%s%v", where, v))
	return "sealed", nil
}

func (c *chosen) Decrypt(string, []byte, string) (any, error) { return "opened", nil }

func TestASuffixInARegexsPlaceChoosesTheSameValues(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	names := []string{"data", "stringData", "metadata", "name", "kind", "password", "xdata", "Data", "a"}
	var tree func(depth int) any
	tree = func(depth int) any {
		if depth == 0 || r.IntN(4) == 0 {
			return fmt.Sprint(r.IntN(1000))
		}
		if r.IntN(4) == 0 {
			return []any{getsops.Comment{Value: "data"}, tree(depth - 1), tree(depth - 1)}
		}
		b := getsops.TreeBranch{{Key: getsops.Comment{Value: " data"}}}
		for range r.IntN(4) {
			b = append(b, getsops.TreeItem{Key: names[r.IntN(len(names))], Value: tree(depth - 1)})
		}
		return b
	}
	replaced := 0
	for range 2000 {
		seed := r.Uint64()
		regex := []string{"^(data|stringData)$", "data", "^$", "", "password", "(", "^a"}[r.IntN(7)]
		m := getsops.Metadata{EncryptedRegex: regex}
		switch r.IntN(5) {
		case 0:
			m = getsops.Metadata{UnencryptedRegex: regex}
		case 1:
			m.EncryptedCommentRegex = "data"
		case 2:
			m.UnencryptedSuffix = "Data"
		case 3:
			m.UnencryptedRegex = "kind"
		}
		walk := func(short bool) ([]string, string) {
			r = rand.New(rand.NewPCG(seed, 1))
			d := getsops.Tree{Metadata: m, Branches: getsops.TreeBranches{{{Key: "first", Value: tree(4)}, {Key: "data", Value: tree(3)}}}}
			if short {
				d = withoutRegex(d)
				if d.Metadata.EncryptedRegex != m.EncryptedRegex || d.Metadata.UnencryptedRegex != m.UnencryptedRegex {
					replaced++
				}
			}
			c := &chosen{}
			mac, err := d.Encrypt(nil, c)
			return append(c.where, fmt.Sprint(err)), mac
		}
		want, wantMAC := walk(false)
		got, gotMAC := walk(true)
		if !slices.Equal(got, want) || gotMAC != wantMAC {
			t.Fatalf("%+v chooses\n%q\nthe library chooses\n%q", m, got, want)
		}
		r = rand.New(rand.NewPCG(seed, 2))
	}
	if replaced < 100 {
		t.Errorf("only %d regexes were replaced: nothing much was compared", replaced)
	}
}
