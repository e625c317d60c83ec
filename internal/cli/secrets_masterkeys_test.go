package cli

import (
	"os"
	"strings"
	"testing"

	"filippo.io/age"
	"sigs.k8s.io/yaml"
)

// masterEdit runs edit --show-master-keys with a script as the editor.
func (b *bench) masterEdit(file, script, stdin string) (code int, stderr string) {
	b.t.Helper()
	code, _, stderr = b.process(os.Args[0], []string{"secrets", "edit", "-s", file}, stdin, b.editor(script))
	return code, stderr
}

func TestEditShowsTheSopsEntryAndTakesItsRecipients(t *testing.T) {
	b := newBench(t)
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	mine, theirs := b.env, append([]string{"SOPS_AGE_KEY=" + other.String()}, b.env[:2]...)
	b.write("db.yaml", sample)
	b.must("encrypt", "--age", b.recipient, "-i", "db.yaml")
	sealed := b.read("db.yaml")

	// What the editor sees: plaintext, and the sops entry with the recipient. A second one is added, without enc, and a value changed.
	code, errOut := b.masterEdit("db.yaml", `cp "$1" `+b.path("seen")+`
sed -i -e 's/hunter2/edited/' -e 's/^    age:$/    age:\n        - recipient: `+other.Recipient().String()+`/' "$1"`, "")
	if seen := b.read("seen"); code != 0 || !strings.Contains(seen, "CANARY-hunter2") || !strings.Contains(seen, "recipient: "+b.recipient) {
		t.Fatalf("exit %d, %s; the editor saw\n%s", code, errOut, seen)
	}
	want := strings.Replace(sample, "hunter2", "edited", 1)
	for _, env := range [][]string{mine, theirs} {
		b.env = env
		if _, plain, errOut := b.sops("decrypt", "db.yaml"); plain != want {
			t.Errorf("sops reads\n%s%s", plain, errOut)
		}
	}
	b.env = mine
	if was := copyFor(t, sealed, b.recipient); was == "" || was != copyFor(t, b.read("db.yaml"), b.recipient) {
		t.Error("the recipient that stayed has another copy of the data key")
	}

	// Without a recipient the editor opens again; giving up leaves the file.
	before := b.read("db.yaml")
	code, errOut = b.masterEdit("db.yaml", `sed -i -e '/^    age:$/,/^    lastmodified/{/lastmodified/!d}' "$1"`, "")
	if code == 0 || !strings.Contains(errOut, "recipient") || b.read("db.yaml") != before {
		t.Errorf("no recipient: exit %d: %s", code, errOut)
	}
	if code, errOut = b.masterEdit("db.yaml", "exit 0", ""); code != 200 || b.read("db.yaml") != before {
		t.Errorf("unchanged: exit %d: %s", code, errOut)
	}
	if code, errOut = b.masterEdit("db.yaml", `echo 'a: b' > "$1"`, ""); code == 0 || !strings.Contains(errOut, "db.yaml") || b.read("db.yaml") != before {
		t.Errorf("no sops entry left: exit %d: %s", code, errOut)
	}
	if err := os.Remove(b.path("seen")); err != nil {
		t.Fatal(err)
	}
	nothingPlain(t, b.dir)
}

// copyFor is the recipient's copy of the data key.
func copyFor(t *testing.T, sealed, recipient string) string {
	t.Helper()
	var doc struct {
		SOPS struct {
			Age []struct{ Recipient, Enc string }
		}
	}
	if err := yaml.Unmarshal([]byte(sealed), &doc); err != nil {
		t.Fatal(err)
	}
	for _, r := range doc.SOPS.Age {
		if r.Recipient == recipient {
			return r.Enc
		}
	}
	return ""
}

// Groups can be typed as well: the data key is shared out anew among them.
func TestEditTakesTypedKeyGroups(t *testing.T) {
	b := newBench(t)
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	b.write("db.yaml", sample)
	b.must("encrypt", "--age", b.recipient, "-i", "db.yaml")
	groups := func(threshold int) string {
		return `sed -i '/^    age:$/,$d' "$1"; printf '    shamir_threshold: ` + itoa(threshold) + `\n    key_groups:\n        - age:\n            - recipient: ` +
			b.recipient + `\n        - age:\n            - recipient: ` + other.Recipient().String() + `\n    lastmodified: "2026-01-01T00:00:00Z"\n    mac: x\n    version: 3.13.2\n    encrypted_regex: ^(data|stringData)$\n' >> "$1"`
	}
	before := b.read("db.yaml")
	if code, errOut := b.masterEdit("db.yaml", groups(3), ""); code == 0 || !strings.Contains(errOut, "3 of 2 groups") || b.read("db.yaml") != before {
		t.Errorf("too many: exit %d: %s", code, errOut)
	}
	if code, errOut := b.masterEdit("db.yaml", groups(2), ""); code != 0 {
		t.Fatalf("exit %d: %s", code, errOut)
	}
	if code, _, _ := b.sops("decrypt", "db.yaml"); code == 0 {
		t.Error("one of two groups opens it")
	}
	for i, e := range b.env {
		if strings.HasPrefix(e, "SOPS_AGE_KEY=") {
			b.env[i] = e + "\n" + other.String()
		}
	}
	if _, plain, errOut := b.sops("decrypt", "db.yaml"); plain != sample {
		t.Errorf("two of two: %s", errOut)
	}
}

// The rules hold for what is typed, too: otherwise the editor would be a way around them.
func TestEditHoldsTypedRecipientsAndChoicesAgainstTheRules(t *testing.T) {
	b := newBench(t)
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	b.write(".sops.yaml", "creation_rules:\n  - encrypted_regex: ^(data|stringData)$\n    age: "+b.recipient+"\n")
	b.write("db.yaml", sample)
	b.must("encrypt", "-i", "db.yaml")
	before := b.read("db.yaml")
	for want, script := range map[string]string{
		"do not list":   `sed -i 's/^    age:$/    age:\n        - recipient: ` + other.Recipient().String() + `/' "$1"`,
		"more narrowly": `sed -i 's/encrypted_regex: .*/encrypted_regex: ^nothing$/' "$1"`,
	} {
		if code, errOut := b.masterEdit("db.yaml", script, ""); code == 0 || !strings.Contains(errOut, want) || b.read("db.yaml") != before {
			t.Errorf("%s: exit %d: %s", want, code, errOut)
		}
	}
}
