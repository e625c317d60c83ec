package sops

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	getsops "github.com/getsops/sops/v3"
)

// library is the store that yamlStore stands in for.
func library() getsops.Store { return store(YAML, 0).(yamlStore).Store }

// texts are strings that YAML has several forms or a meaning of its own for.
var texts = []string{
	"", "a", "plainer", "ENC[AES256_GCM,data:/+a=,iv:b==,tag:c=,type:str]", "ends:here:", "ends:here", "a: b", "a #b", "false", "False", "yes", "on", "null", "~",
	"NaN", "Infinity", "infinity", "123456", "1e1000", "0x1234", "0o777", "1_000_000", "12:30:45", "2001-01-01", "2001-01-01T00:00:00Z", "Date-2001-01-01", "+.inf", "-.Inf",
	"[list]", "{a: b}", "letter{", "letter}", "letter,", "letter]", "letter[", "- item", "---", "...", "----BEGIN", "=", "<<", "*alias", "&anchor", "!tag", "%percent", "@at", "`tick`",
	"'single'", "\"double\"", "back\\slash", " leading", "trailing ", "two\nlines\n", "two\nlines", "\n", "\ttab", "tab\tin", "crlf\r\n", "nul\x00", "bell\a", "ünïcödé", "letters\u2028line",
	"\ufeffbom", "invalid\xff", "wordwordword.", "wordwordword-", "wordword/word", "sops_", "y", "n", "true",
	"1wordword", "0xabcdefg", "12e45y", "2001-01-01T00:00:00Zulu", "123:456:y", "1.e+5", "0b1010", "0o1234", "0x1p-10", "1234_5678",
}

func randomTree(r *rand.Rand, depth int) any {
	switch n := r.IntN(10); {
	case n < 2 && depth > 0:
		branch := getsops.TreeBranch{}
		for i := range r.IntN(5) {
			branch = append(branch, getsops.TreeItem{Key: texts[r.IntN(len(texts))] + fmt.Sprint(i)[:r.IntN(2)], Value: randomTree(r, depth-1)})
		}
		return branch
	case n < 3 && depth > 0:
		var list []any
		for range r.IntN(4) {
			list = append(list, randomTree(r, depth-1))
		}
		return list
	}
	switch r.IntN(8) {
	case 0:
		return r.IntN(1000) - 500
	case 1:
		return r.NormFloat64()
	case 2:
		return r.IntN(2) == 0
	case 3:
		return nil
	}
	return texts[r.IntN(len(texts))]
}

// sameAsLibrary reads data both ways; the trees, and what they are written as, are the same.
func sameAsLibrary(t *testing.T, data []byte) (short bool) {
	t.Helper()
	want, wantErr := library().LoadPlainFile(data)
	got, gotErr := store(YAML, 0).LoadPlainFile(data)
	if fmt.Sprint(wantErr) != fmt.Sprint(gotErr) || wantErr == nil && !reflect.DeepEqual(got, want) {
		// NaN is not equal to itself
		if fmt.Sprintf("%#v %v", got, gotErr) != fmt.Sprintf("%#v %v", want, wantErr) {
			t.Fatalf("%q is read as\n%#v, %v; the library reads\n%#v, %v", data, got, gotErr, want, wantErr)
		}
	}
	if wantErr == nil {
		sameWriting(t, want)
	}
	_, short = readPlainYAML(data)
	return short
}

func sameWriting(t *testing.T, branches getsops.TreeBranches) {
	t.Helper()
	for _, indent := range []int{0, 2} {
		s := store(YAML, indent).(yamlStore)
		want, wantErr := s.Store.EmitPlainFile(branches)
		got, gotErr := s.EmitPlainFile(branches)
		if (wantErr == nil) != (gotErr == nil) || !bytes.Equal(got, want) {
			t.Fatalf("%#v is written as\n%s%v\nthe library writes\n%s%v", branches, got, gotErr, want, wantErr)
		}
	}
}

func TestTheShortWayThroughYAMLEndsWhereTheLibrarysDoes(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	short, total := 0, 3000
	for range total {
		var branches getsops.TreeBranches
		for range 1 + r.IntN(2) {
			branch := getsops.TreeBranch{{Key: "first", Value: texts[r.IntN(len(texts))]}}
			branches = append(branches, append(branch, getsops.TreeItem{Key: "second", Value: randomTree(r, 4)}))
		}
		sameWriting(t, branches)
		if out, err := library().EmitPlainFile(branches); err == nil && sameAsLibrary(t, out) {
			short++
		}
	}
	if short < total/4 {
		t.Errorf("only %d of %d documents went the short way: nothing much was compared", short, total)
	}
	if !sameAsLibrary(t, []byte(megabyte()[:20000])) {
		t.Error("a plain Secret does not go the short way")
	}
}

func FuzzYAMLIsReadAsTheLibraryReadsIt(f *testing.F) {
	for _, s := range []string{
		"a: b\n", "a: {b: [1, 2.5, ~, true, 2001-01-01]}\n", "a: &x 1\nb: *x\n", "a: 1\na: 2\n", "# c\na: 1 # d\n", "<<: {a: b}\n", "a: !!str 1\n", "1: 2\n", "? {a: b}\n: c\n",
		"a: 1\n---\nb: 1\nb: 2\n", "---\n---\na: 1\n", "- a\n", "", "a:\n", "a: \"x\\ny\"\nb: |\n  z\n", "a: 'b'\n...\n", "\ufeffa: b\n", "a: 0x_1\nb: .nan\nc: !!binary aGk=\n", plainDocs[YAML],
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if checkShape(YAML, data) == nil && len(data) < 10000 {
			sameAsLibrary(t, data)
		}
	})
}
