package bootstrap

import (
	"strings"
	"testing"
)

func TestManifestsAreFilledByTheirChoices(t *testing.T) {
	values, choices := map[string]string{"a": "1", "raw": "${a}"}, map[string]bool{"yes": true, "no": false}
	for in, want := range map[string]string{
		"x: ${a}${a} ${raw} $(A)\n":                                   "x: 11 ${a} $(A)\n",
		"#if yes\nx\n#end\n#if no\ny\n#end\n":                         "x\n",
		"#if !yes\nx\n#end\n  #if !no\ny\n  #end\nz":                  "y\nz",
		"#if yes\na\n#if no\nb\n#end\nc\n#end\n":                      "a\nc\n",
		"#if no\na\n#if yes\nb\n#end\n#if !no\nc\n#end\nd\n#end\ne\n": "e\n",
		"# if you ask\n": "# if you ask\n",
	} {
		if got, err := fill(in, values, choices); got != want || err != nil {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"${b}\n": `no value "b"`, "${": `no value ""`, "#if b\n#end\n": `no choice "b"`, "#if yes\n": "without #end", "#end\n": "without #if",
	} {
		if _, err := fill(in, values, choices); want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", in, err, want)
		}
	}
}
