package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sluice-gitops/sluice/internal/sops/tree"
)

var words = []string{"", "a", "plainer", "ends:here", "a: b", "false", "null", "123456", "2001-01-01", "[list]", "- item", "---", "two\nlines\n", "\n", "\ttab", " lead", "x\n\n\n",
	"first\n\n  indented\nlast", "  \n x", "ünïcödé", "invalid\xff", strings.Repeat("long words ", 30), "ENC[AES256_GCM,data:a=,iv:b=,tag:c=,type:str]", strings.Repeat("k", 130), "- a\n- b\n", "a\n# b\n"}

func randomValue(r *rand.Rand, depth int) any {
	switch n := r.IntN(8); {
	case n < 3 && depth > 0:
		b := tree.Branch{}
		for i := range r.IntN(6) {
			b = append(b, tree.Item{Key: words[r.IntN(len(words))] + fmt.Sprint(i), Value: randomValue(r, depth-1)})
		}
		return b
	case n < 4 && depth > 0:
		var list []any
		for range r.IntN(4) {
			list = append(list, randomValue(r, depth-1))
		}
		return list
	}
	return []any{r.IntN(100), r.Float64(), true, nil, time.Unix(0, 0).UTC(), words[r.IntN(len(words))], words[r.IntN(len(words))]}[r.IntN(7)]
}

func TestLargeMappingsAreWrittenAsTheLibraryWritesThem(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	usual := manyEntries
	defer func() { manyEntries = usual }()
	large := 0
	const letters = "aenNyYoOtTfFuUlLsSrR0x1_-"
	word := func() string {
		var w []byte
		for range 1 + r.IntN(5) {
			w = append(w, letters[r.IntN(len(letters))])
		}
		return string(w)
	}
	for i := range 4000 {
		words[i%5] = word()
		branches := []tree.Branch{{{Key: "first", Value: randomValue(r, 1)}, {Key: "second", Value: randomValue(r, 4)}, {Key: words[r.IntN(len(words))], Value: randomValue(r, 2)}}}
		if r.IntN(3) == 0 {
			branches = append(branches, tree.Branch{{Key: "other", Value: randomValue(r, 2)}})
		}
		s := yamlStore{indent: []int{0, 2, 3, 9}[r.IntN(4)]}
		manyEntries = 1 << 30
		want, wantErr := s.Write(branches)
		manyEntries = r.IntN(3)
		if _, ok := writeLarge(branches, 4); ok {
			large++
		}
		got, gotErr := s.Write(branches)
		if (gotErr == nil) != (wantErr == nil) || !bytes.Equal(got, want) {
			t.Fatalf("%#v with %d is written as\n%s%v\nwant\n%s%v", branches, s.indent, got, gotErr, want, wantErr)
		}
	}
	if large < 2000 {
		t.Errorf("only %d documents went that way: nothing much was compared", large)
	}
}

// Every word of up to three letters, and all that mean something, in any case.
func TestShortWordsAreQuotedAsTheLibraryQuotesThem(t *testing.T) {
	check := func(w string) {
		if !surelyPlain(w) {
			return
		}
		want := &yaml.Node{}
		if err := want.Encode(w); err != nil || want.Style != 0 || want.Tag != "!!str" || want.Value != w {
			t.Errorf("%q is not written as it stands: %+v, %v", w, want, err)
		}
	}
	const chars = "aAbBcCdDeEfFgGhHiIjJkKlLmMnNoOpPqQrRsStTuUvVwWxXyYzZ019-_"
	for _, a := range chars {
		check(string(a))
		for _, b := range chars {
			check(string([]rune{a, b}))
		}
	}
	for _, word := range []string{"yes", "off", "true", "null", "false", "nan", "inf", "infin", "none", "undef"} {
		for mask := range 1 << len(word) {
			w := []byte(word)
			for i := range w {
				if mask>>i&1 == 1 {
					w[i] -= 'a' - 'A'
				}
			}
			check(string(w))
		}
	}
}
