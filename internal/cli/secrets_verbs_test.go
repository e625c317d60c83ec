package cli

import (
	"os"
	"strings"
	"testing"

	"filippo.io/age"
)

func (b *bench) copyOf(from, to string) string {
	b.t.Helper()
	b.write(to, b.read(from))
	return to
}

// What sops does with the same arguments is the measure: the same exit code and the same plaintext, but for what is said
// at the end of docs/secrets-flags.md.
func TestOddPathsAndValuesOfSetAreTakenAsSOPSDoesOrRefused(t *testing.T) {
	b := newBench(t)
	b.write("f.yaml", "a: one\nb: two\nl:\n    - x\n    - \"y\"\n")
	b.must("encrypt", "--age", b.recipient, "-i", "f.yaml")
	type change struct{ verb, path, value string }
	var changes []change
	for _, v := range []string{`"x"`, `1.5`, `null`, `{"k":[1,{"z":"y"}]}`, ``, `abc`, `12345678901234567890`} {
		changes = append(changes, change{"set", `["a"]`, v})
	}
	for _, p := range []string{`["new"]["deep"]`, `["l"][0]`, `["l"][7]`, `["a"]["x"]`, `a`, `["a"`, `[""]`} {
		changes = append(changes, change{"set", p, `"x"`}, change{"unset", p, ""})
	}
	for _, c := range changes {
		args := func(file string) []string {
			if c.verb == "unset" {
				return []string{c.verb, file, c.path}
			}
			return []string{c.verb, file, c.path, c.value}
		}
		code, _, errOut := b.sluice(args(b.copyOf("f.yaml", "ours.yaml"))...)
		theirs, _, theirErr := b.sops(args(b.copyOf("f.yaml", "theirs.yaml"))...)
		_, got, _ := b.sops("decrypt", "ours.yaml")
		_, want, _ := b.sops("decrypt", "theirs.yaml")
		if (code == 0) != (theirs == 0) || got != want {
			t.Errorf("%v: exit %d, sops %d\n%s%s\n%s%s", c, code, theirs, got, errOut, want, theirErr)
		}
		if code != 0 && !strings.Contains(errOut, "  fix  ") {
			t.Errorf("%v: no fix in\n%s", c, errOut)
		}
	}
	for want, args := range map[string][]string{
		"no position 0": {"set", "f.yaml", `[0]`, `"x"`}, "--value-file and": {"set", "--value-file", "--value-stdin", "f.yaml", `["a"]`},
		"set takes FILE": {"set", "f.yaml", `["a"]`}, "unset takes FILE": {"unset", "f.yaml"},
	} {
		before := b.read("f.yaml")
		if code, _, errOut := b.sluice(args...); code == 0 || !strings.Contains(errOut, want) || b.read("f.yaml") != before {
			t.Errorf("%v: exit %d\n%s", args, code, errOut)
		}
	}
	b.write("value", `"from a file"`)
	b.must("set", "--value-file", "f.yaml", `["a"]`, "value")
	if code, _, errOut := b.process(os.Args[0], []string{"secrets", "set", "--value-stdin", "--shamir-secret-sharing-threshold", "2", "f.yaml", `["b"]`}, `["from", "stdin"]`); code != 0 {
		t.Error(errOut)
	}
	sealed := b.read("f.yaml")
	b.must("set", "--idempotent", "f.yaml", `["a"]`, `"from a file"`)
	b.must("unset", "--idempotent", "f.yaml", `["nothing"]`)
	if _, plain, _ := b.sops("decrypt", "f.yaml"); !strings.HasPrefix(plain, "a: from a file\nb:\n    - from\n    - stdin\n") || b.read("f.yaml") != sealed {
		t.Errorf("sops reads\n%s", plain)
	}
}

// Flags choose the verb, as before sops had verbs, and everything else goes with it.
func TestFormerNotationAndVerbsDoTheSame(t *testing.T) {
	b := newBench(t)
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	b.write("db.yaml", sample)
	b.write("plain.json", `{"a":"CANARY"}`)
	b.must("--verbose", "--age="+b.recipient, "--encrypt", "--encrypted-regex", "^(data|stringData)$", "--in-place", "db.yaml")
	if sealed := b.read("db.yaml"); !strings.Contains(sealed, "ENC[") || strings.Contains(sealed, "CANARY") {
		t.Fatal(sealed)
	}
	b.must("-i", "--set", `["stringData"]["password"] "a b"`, "db.yaml")
	b.must("-r", "--add-age", other.Recipient().String(), "-i", "db.yaml")
	for _, args := range [][]string{{"-d", "--extract", `["stringData"]["password"]`, "db.yaml"}, {"--decrypt", `--extract=["stringData"]["password"]`, "db.yaml"}} {
		if out := b.must(args...); out != "a b" {
			t.Errorf("%v: %q", args, out)
		}
	}
	b.must("rotate", "--rm-age", other.Recipient().String(), "-i", "db.yaml")
	if strings.Contains(b.read("db.yaml"), other.Recipient().String()) {
		t.Error("the recipient is still there")
	}
	// The other flags that decide where from, where to and in which form.
	b.write("own.yaml", "creation_rules:\n  - path_regex: named\n    age: "+b.recipient+"\n")
	b.must("encrypt", "--config", "own.yaml", "--filename-override", "named.json", "--indent", "2", "--output", "sealed.json", "plain.json")
	if !strings.Contains(b.read("sealed.json"), "\n  \"a\": \"ENC[") {
		t.Error(b.read("sealed.json"))
	}
	if out := b.must("decrypt", "--input-type", "json", "--output-type", "yaml", "sealed.json"); out != "a: CANARY\n" {
		t.Errorf("%q", out)
	}
	// A file alone is edited, a verb stays one though a file has its name, and what is neither is said to be unknown.
	b.copyOf("db.yaml", "decrypt")
	if code, _, _ := b.process(os.Args[0], []string{"secrets", "db.yaml"}, "", "EDITOR=true"); code != 200 {
		t.Errorf("sluice secrets FILE: exit %d", code)
	}
	if code, _, errOut := b.sluice("decrypt"); code == 200 || strings.Contains(errOut, "not changed") {
		t.Errorf("a verb was taken for a file: exit %d, %s", code, errOut)
	}
	if code, _, errOut := b.sluice("decript"); code == 0 || !strings.Contains(errOut, `unknown command "decript"`) {
		t.Errorf("exit %d, %s", code, errOut)
	}
}

func TestFileStatusAnswersAsSOPSDoes(t *testing.T) {
	b := newBench(t)
	b.write("sealed.yaml", sample)
	b.must("encrypt", "--age", b.recipient, "-i", "sealed.yaml")
	b.write("plain.yaml", sample)
	b.write("odd.txt", b.read("sealed.yaml"))
	for _, args := range [][]string{{"sealed.yaml"}, {"plain.yaml"}, {"--input-type", "yaml", "odd.txt"}} {
		code, out, errOut := b.sluice(append([]string{"filestatus"}, args...)...)
		theirs, want, theirErr := b.sops(append([]string{"filestatus"}, args...)...)
		if code != theirs || strings.TrimSpace(out) != strings.TrimSpace(want) {
			t.Errorf("%v: exit %d %s%s; sops: %d %s%s", args, code, out, errOut, theirs, want, theirErr)
		}
	}
}

func TestIgnoreMACOpensWhatWasChanged(t *testing.T) {
	b := newBench(t)
	b.write("f.yaml", "a: one\nplain_unencrypted: two\n")
	b.must("encrypt", "--age", b.recipient, "-i", "f.yaml")
	b.write("f.yaml", strings.Replace(b.read("f.yaml"), "two", "changed", 1))
	for _, args := range [][]string{{"decrypt", "f.yaml"}, {"set", "f.yaml", `["a"]`, `"x"`}, {"unset", "f.yaml", `["a"]`}} {
		file := b.copyOf("f.yaml", "g.yaml")
		args = append([]string{args[0], file}, args[2:]...)
		if code, _, errOut := b.sluice(args...); code != 51 || !strings.Contains(errOut, "MAC") {
			t.Errorf("%v: exit %d, %s", args, code, errOut)
		}
		args = append([]string{args[0], "--ignore-mac"}, args[1:]...)
		if code, _, errOut := b.sluice(args...); code != 0 {
			t.Errorf("%v: exit %d, %s", args, code, errOut)
		}
	}
	if code, _, errOut := b.process(os.Args[0], []string{"secrets", "edit", "--ignore-mac", "f.yaml"}, "", b.editor(`sed -i s/one/ONE/ "$1"`)); code != 0 {
		t.Errorf("edit: exit %d, %s", code, errOut)
	}
	if out := b.must("decrypt", "f.yaml"); !strings.Contains(out, "a: ONE\nplain_unencrypted: changed\n") {
		t.Error(out)
	}
}

// Each kind of recipient is added and taken away again, as sops names it.
func TestRecipientFlagsAreReadAsSOPSReadsThem(t *testing.T) {
	b := newBench(t)
	s := newKeyServices(t)
	b.env = append(b.env, s.env...)
	b.env = append(b.env, "AWS_SHARED_CREDENTIALS_FILE="+b.write("aws", "[team]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = secret\n"))
	b.write("f.yaml", "a: one\n")
	b.must("encrypt", "--kms", awsKeyARN, "--aws-profile", "team", "--encryption-context", "app:web,stage:test", "-i", "f.yaml")
	for _, want := range []string{"app: web", "stage: test", "aws_profile: team"} {
		if !strings.Contains(b.read("f.yaml"), want) {
			t.Errorf("no %q in\n%s", want, b.read("f.yaml"))
		}
	}
	if _, plain, errOut := b.sops("decrypt", "f.yaml"); plain != "a: one\n" {
		t.Error(errOut)
	}
	b.must("rotate", "-i", "--add-age", b.recipient, "--rm-kms", awsKeyARN, "f.yaml")
	for kind, name := range map[string]string{"kms": awsKeyARN, "gcp-kms": googleKeyID, "hc-vault-transit": s.vaultURI()} {
		b.must("rotate", "-i", "--add-"+kind, name, "f.yaml")
		if with := b.read("f.yaml"); !strings.Contains(with, strings.ReplaceAll(kind, "-", "_")[:3]) || strings.Count(with, "enc: ") < 2 {
			t.Errorf("--add-%s:\n%s", kind, with)
		}
		b.must("rotate", "-i", "--rm-"+kind, name, "f.yaml")
		if without := b.read("f.yaml"); strings.Count(without, "enc: ") != 1 {
			t.Errorf("--rm-%s:\n%s", kind, without)
		}
	}
}

// --filename names the pipe or file; --user runs the command as somebody else, which takes root.
func TestExecTakesANameAndAUser(t *testing.T) {
	b := newBench(t)
	b.write("f.env", "A=one\n")
	b.must("encrypt", "--age", b.recipient, "-i", "f.env")
	for _, more := range [][]string{{"--filename", "app.conf"}, {"--no-fifo", "--filename", "app.conf"}} {
		if _, out, errOut := b.sluice(append(append([]string{"exec-file"}, more...), "f.env", "cat {}; basename {}")...); out != "A=one\napp.conf\n" {
			t.Errorf("%v: %q, %s", more, out, errOut)
		}
	}
	if code, _, errOut := b.sluice("exec-file", "--filename", "../out", "f.env", "cat {}"); code == 0 || !strings.Contains(errOut, "without folders") {
		t.Errorf("exit %d, %s", code, errOut)
	}
	for _, args := range [][]string{
		{"exec-env", "--user", "nobody", "f.env", "echo $A; id -un"}, {"exec-env", "--same-process", "--user", "nobody", "f.env", "echo $A; id -un"},
		{"exec-file", "--user", "nobody", "f.env", "sed s/A=// {}; id -un"}, {"exec-file", "--no-fifo", "--user", "nobody", "f.env", "sed s/A=// {}; id -un"},
	} {
		code, out, errOut := b.sluice(args...)
		if os.Geteuid() == 0 && out != "one\nnobody\n" || os.Geteuid() != 0 && (code == 0 || strings.Contains(out, "one")) {
			t.Errorf("%v: exit %d, %q, %s", args, code, out, errOut)
		}
	}
	if code, out, _ := b.sluice("exec-env", "--user", "no-such-user", "f.env", "echo $A"); code == 0 || out != "" {
		t.Errorf("a user who is not there: exit %d, %q", code, out)
	}
}
