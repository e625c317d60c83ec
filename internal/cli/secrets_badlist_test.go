package cli

import (
	"os"
	"strings"
	"testing"
)

// The bad inputs that the project's own list names, each beside a good file in one call: the bad one is named with its
// place, cause and fix and stays as it was, the good one is done. What a key service does wrong is in
// TestAKeyServiceThatFailsIsNamedAndOtherFilesAreDone and TestAKeyServiceThatNeverAnswersEndsAtTheLimit.
func TestEachBadInputStandsAloneAmongGoodFiles(t *testing.T) {
	source := newBench(t)
	source.write("sealed.yaml", sample)
	source.must("encrypt", "--age", source.recipient, "-i", "sealed.yaml")
	sealed := source.read("sealed.yaml")
	encrypt, rotate := []string{"encrypt", "-i"}, []string{"rotate", "-i"}
	for name, tt := range map[string]struct {
		verb  []string
		text  string
		rules string // .sops.yaml; empty: one that covers all
		where string // in the message
	}{
		"no key source":                          {encrypt, sample, "creation_rules:\n  - path_regex: bad\n  - age: RECIPIENT\n", "no recipient"},
		"a .sops.yaml that matches nothing":      {encrypt, sample, "creation_rules:\n  - path_regex: good\n    age: RECIPIENT\n", "path_regex of none matches"},
		"a SOPS file from a newer version":       {rotate, strings.Replace(sealed, "version: 3.13.2", "version: 4.0.0", 1), "", "sops 4.0.0"},
		"a half-merged file with conflict marks": {rotate, strings.Replace(sealed, "kind:", "<<<<<<< HEAD\nkind:", 1), "", "bad.yaml:2"},
		"a file that isn't UTF-8":                {encrypt, "a: 1\nb: \xff\n", "", "bad.yaml:2"},
		"a symlink":                              {rotate, sealed, "", "symbolic link"},
		"a read-only file":                       {rotate, sealed, "", "read-only"},
	} {
		t.Run(name, func(t *testing.T) {
			b := &bench{t: t, dir: t.TempDir(), recipient: source.recipient, env: source.env}
			rules := tt.rules
			if rules == "" {
				rules = "creation_rules:\n  - encrypted_regex: ^(data|stringData|a|b)$\n    age: RECIPIENT\n"
			}
			b.write(".sops.yaml", strings.ReplaceAll(rules, "RECIPIENT", b.recipient))
			good := sample
			if tt.verb[0] == "rotate" {
				good = sealed
				b.write(".sops.yaml", "creation_rules:\n  - age: "+b.recipient+"\n")
			}
			b.write("good.yaml", good)
			b.write("bad.yaml", tt.text)
			switch name {
			case "a symlink":
				if err := os.Rename(b.path("bad.yaml"), b.path("real.yaml")); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink("real.yaml", b.path("bad.yaml")); err != nil {
					t.Fatal(err)
				}
			case "a read-only file":
				if err := os.Chmod(b.path("bad.yaml"), 0o444); err != nil {
					t.Fatal(err)
				}
			}
			code, out, errOut := b.sluice(append(append([]string{}, tt.verb...), "bad.yaml", "good.yaml")...)
			if code == 0 || !strings.Contains(errOut, "bad.yaml") || !strings.Contains(errOut, tt.where) || !strings.Contains(errOut, "  why  ") || !strings.Contains(errOut, "  fix  ") || strings.Contains(errOut, "CANARY") {
				t.Errorf("exit %d\n%s%s", code, out, errOut)
			}
			if b.read("bad.yaml") != tt.text {
				t.Error("the bad file was written")
			}
			if done := b.read("good.yaml"); done == good || !strings.Contains(done, "ENC[") {
				t.Errorf("the good file was not done:\n%s%s", out, errOut)
			}
		})
	}
	// A field that no version of .sops.yaml has would be a rule that somebody believes to hold: nothing is sealed under it.
	b := &bench{t: t, dir: t.TempDir(), recipient: source.recipient, env: source.env}
	b.write(".sops.yaml", "creation_rules:\n  - encrypted_regx: x\n    age: "+b.recipient+"\n")
	b.write("good.yaml", sample)
	if code, _, errOut := b.sluice("encrypt", "-i", "good.yaml"); code == 0 || !strings.Contains(errOut, ".sops.yaml:2") && !strings.Contains(errOut, "line 2") || b.read("good.yaml") != sample {
		t.Errorf("an unknown field: exit %d\n%s", code, errOut)
	}
}
