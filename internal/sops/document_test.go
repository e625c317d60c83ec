package sops

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
)

// randomYAML writes a tree in the form that the library emits, so that equal bytes mean equal values, types, order and
// comments.
func randomYAML(r *rand.Rand, depth, indent int) string {
	var b strings.Builder
	pad := strings.Repeat(" ", indent)
	for i := range 1 + r.IntN(5) {
		if r.IntN(4) == 0 {
			fmt.Fprintf(&b, "%s# comment %d\n", pad, r.IntN(100))
		}
		fmt.Fprintf(&b, "%sk%d:", pad, i)
		switch n := r.IntN(9); {
		case n == 0 && depth > 0:
			b.WriteString("\n" + randomYAML(r, depth-1, indent+4))
		case n == 1:
			fmt.Fprintf(&b, "\n%s    - %d\n%s    - text\n", pad, r.IntN(1000), pad)
		case n == 2:
			fmt.Fprintf(&b, " %d\n", r.IntN(1<<40)-1<<39)
		case n == 3:
			fmt.Fprintf(&b, " %t\n", r.IntN(2) == 0)
		case n == 4:
			fmt.Fprintf(&b, " \"%d\"\n", r.IntN(1000))
		case n == 5:
			fmt.Fprintf(&b, " |\n%s    line %d\n%s    more\n", pad, r.IntN(10), pad)
		case n == 6:
			b.WriteString(" null\n")
		case n == 7:
			b.WriteString(" \"\"\n")
		default:
			fmt.Fprintf(&b, " %d.5\n", r.IntN(1000))
		}
	}
	return b.String()
}

func TestAnyTreeOpensToWhatWasSealedAndStaysItselfUnderEveryChange(t *testing.T) {
	r, groups := newRing(t)
	for seed := range uint64(80) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		plain := randomYAML(rnd, 3, 0)
		if rnd.IntN(3) == 0 {
			plain += "---\n" + randomYAML(rnd, 2, 0)
		}
		sealed := []byte(seal(t, groups, YAML, plain, SealOptions{}))
		if got, err := Open(t.Context(), r, "x.yaml", sealed, YAML, Enforce); err != nil || string(got) != plain {
			t.Fatalf("seed %d: %v\n%s\nwant\n%s", seed, err, got, plain)
		}
		d, err := Parse("x.yaml", sealed, YAML)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Open(t.Context(), r, Enforce); err != nil {
			t.Fatal(err)
		}
		if err := d.Replace([]byte(plain), YAML); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		again, err := d.Seal(YAML, Indents{}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Open(t.Context(), r, "x.yaml", again, YAML, Enforce); err != nil || string(got) != plain {
			t.Fatalf("seed %d: sealed again: %v\n%s\nwant\n%s", seed, err, got, plain)
		}
	}
}

func TestRekeyEncryptsEveryValueAnew(t *testing.T) {
	r, groups := newRing(t)
	sealed := []byte(seal(t, groups, YAML, "a: CANARY-4711-s3cr3t\nb: 1\n", SealOptions{}))
	d, err := Parse("x.yaml", sealed, YAML)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Open(t.Context(), r, Enforce); err != nil {
		t.Fatal(err)
	}
	key, err := NewSharedKey(context.Background(), SealOptions{Recipients: recipients(t, r.id)})
	if err != nil {
		t.Fatal(err)
	}
	d.Rekey(key)
	again, err := d.Seal(YAML, Indents{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	was := map[string]bool{}
	for line := range strings.Lines(string(sealed)) {
		was[line] = true
	}
	for line := range strings.Lines(string(again)) {
		if strings.Contains(line, "ENC[") && was[line] {
			t.Errorf("kept: %s", line)
		}
	}
	if got, err := Open(t.Context(), r, "x.yaml", again, YAML, Enforce); err != nil || !strings.HasPrefix(string(got), "a: CANARY") {
		t.Errorf("%v: %s", err, got)
	}
}

func TestTreePathsReadWhatSOPSReads(t *testing.T) {
	for text, want := range map[string]string{
		`["a"]["b"][0]`: `["a"]["b"][0]`, `['a']`: `["a"]`, `["a[0]"]`: `["a[0]"]`, `["tls.crt"]`: `["tls.crt"]`,
	} {
		if p, err := ParseTreePath(text); err != nil || p.String() != want {
			t.Errorf("%s: %v, %v", text, p, err)
		}
	}
	for _, text := range []string{"", "a", "[", `["a`, `["a"]b`, "[-1]", "[x]", "[]"} {
		if p, err := ParseTreePath(text); err == nil {
			t.Errorf("%q is %v", text, p)
		}
	}
}

// FuzzRoundTrip feeds every format's reader: no panic, no value in an error, and what opens seals to what opens to the same.
func FuzzRoundTrip(f *testing.F) {
	id, err := age.ParseX25519Identity("AGE-SECRET-KEY-184JMZMVQH3E6U0PSL869004Y3U2NYV7R30EU99CSEDNPH02YUVFSZW44VU")
	if err != nil {
		f.Fatal(err)
	}
	r := ring{id}
	for format, plain := range plainDocs {
		f.Add(string(format), []byte(seal(f, recipients(f, id), format, plain, SealOptions{})))
		f.Add(string(format), []byte(plain))
	}
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		format, err := ParseFormat(name)
		if err != nil {
			return
		}
		plain, err := Open(t.Context(), r, "x", data, format, Enforce)
		if err != nil && strings.Contains(err.Error(), canary) {
			t.Fatalf("%v", err)
		}
		if d, err := Parse("x", data, format); err == nil {
			_ = d.Open(t.Context(), r, Off)
		}
		if plain == nil {
			return
		}
		sealed, err := Seal(t.Context(), plain, format, SealOptions{Recipients: recipients(t, id)})
		if err != nil {
			return // a document of comments, for example
		}
		first, err := Open(t.Context(), r, "x", sealed, format, Enforce)
		if err != nil {
			t.Fatalf("what was sealed does not open: %v\n%q", err, plain)
		}
		_ = first
	})
}
