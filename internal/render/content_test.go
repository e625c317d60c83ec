package render

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"
)

// throughText is the way that kustomize and Flux go: node, YAML text, JSON.
func throughText(t testing.TB, n *kyaml.RNode) (map[string]any, error) {
	t.Helper()
	data, err := n.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var content map[string]any
	return content, utiljson.Unmarshal(data, &content)
}

// agree holds the short way against the long one, and says whether it was taken.
func agree(t testing.TB, text string) bool {
	t.Helper()
	n, err := kyaml.Parse(text)
	if err != nil {
		return false
	}
	got, ok := contentOf(n.YNode())
	if !ok {
		return false
	}
	want, err := throughText(t, n)
	if err != nil {
		t.Errorf("the long way fails: %v, the short one gives %v for:\n%s", err, got, text)
	} else if !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v, want %#v for:\n%s", got, want, text)
	}
	return true
}

func TestContentIsWhatItsTextWouldGive(t *testing.T) {
	for text, short := range map[string]bool{
		"a: 1":                             true,
		"a: -12\nb: 0":                     true,
		"a: \"1\"\nb: '2'\nc: three":       true,
		"a: true\nb: false\nc: null\nd: ~": true,
		"a:":                               false,
		"a: {}\nb: []\nc: [1, {d: e}]":     true,
		"a: |\n  one\n  two\n":             true,
		"a: >-\n  one\n  two\n":            true,
		"a: no\nb: yes\nc: on":             true, // texts, in YAML 1.2
		"a: 0x10":                          false,
		"a: 010":                           false,
		"a: +1":                            false,
		"a: 1_000":                         false,
		"a: 1.0":                           false,
		"a: 1e3":                           false,
		"a: .inf":                          false,
		"a: 9223372036854775807":           true,
		"a: 9223372036854775808":           false,
		"a: True":                          false,
		"a: 2001-12-14":                    false,
		"a: !!int \"1\"":                   false,
		"a: !!str 1":                       true,
		"a: !mine x":                       false,
		"a: !!binary aGk=":                 false,
		"1: a":                             false,
		"true: a":                          false,
		"a: &x {b: 1}\nc: *x":              false,
		"a: &x {b: 1}\nc: {<<: *x}":        false,
		"a: 1\na: 2":                       false,
		"a: \"\\n  one\\n two\"":           false,
		"a: \"tab\\there\"":                false,
		"a: \"caf\\u00e9\"":                false,
		"- a":                              false,
		"a: # comment\n  b: 1 # more":      true,
	} {
		if got := agree(t, text); got != short {
			t.Errorf("the short way was taken: %v, for:\n%s", got, text)
		}
	}
}

func TestContentOfEveryGoldenObjectIsWhatItsTextWouldGive(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	short := 0
	for _, name := range archives {
		a, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range a.Files {
			for text := range strings.SplitSeq(string(f.Data), "\n---\n") {
				if agree(t, text) {
					short++
				}
			}
		}
	}
	if short < 20 {
		t.Errorf("only %d documents went the short way", short)
	}
}

func FuzzContentIsWhatItsTextWouldGive(f *testing.F) {
	f.Add("a: 1\nb: {c: [true, null, x]}\n")
	f.Add("a: |\n  one\n  two\n")
	f.Add("a: '#'\nb: 'a: b'\nc: '- x'\n")
	f.Fuzz(func(t *testing.T, text string) { agree(t, text) })
}
