package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"filippo.io/age"
)

func itoa(n int) string { return strconv.Itoa(n) }

var wrapped = regexp.MustCompile(`(?s)-----BEGIN AGE.*?END AGE`)

func TestFilesUnderASharedKeyHaveTheSameWrappedKey(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"a/s.yaml", "b/s.yaml", "c.yaml"} {
		b.write(name, sample)
	}
	b.must("encrypt", "--age", b.recipient, "-i", "a", "b")
	enc := func(name string) string { return wrapped.FindString(b.read(name)) }
	if enc("a/s.yaml") == enc("b/s.yaml") {
		t.Fatal("two files share a data key unasked")
	}
	b.must("rotate", "-i", "--share-data-key", "a", "b")
	b.must("encrypt", "--like", "a/s.yaml", "-i", "c.yaml")
	for _, name := range []string{"a/s.yaml", "b/s.yaml", "c.yaml"} {
		if enc(name) != enc("a/s.yaml") {
			t.Errorf("%s has a data key of its own", name)
		}
		if _, plain, errOut := b.sops("decrypt", name); plain != sample {
			t.Errorf("sops opens %s to %q, %s", name, plain, errOut)
		}
	}
	b.must("rotate", "-i", "c.yaml")
	if enc("c.yaml") == enc("a/s.yaml") {
		t.Error("rotate left the shared key")
	}
}

func TestRotateAndUpdateKeysChangeWhoCanOpen(t *testing.T) {
	b := newBench(t)
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	b.write("db.yaml", sample)
	b.must("encrypt", "--age", b.recipient, "-i", "db.yaml")
	as := func(id *age.X25519Identity) int {
		code, _, _ := b.process(os.Args[0], []string{"secrets", "decrypt", "db.yaml"}, "", "SOPS_AGE_KEY="+id.String())
		return code
	}
	if as(other) != 128 {
		t.Error("somebody else opens it")
	}
	b.must("rotate", "-i", "--add-age", other.Recipient().String(), "db.yaml")
	if as(other) != 0 {
		t.Error("an added recipient cannot open it")
	}
	values := regexp.MustCompile(`password: .*`).FindString(b.read("db.yaml"))
	b.write(".sops.yaml", "creation_rules:\n  - encrypted_regex: ^(data|stringData)$\n    age: "+b.recipient+"\n")
	if code, _, errOut := b.sluice("set", "db.yaml", `["stringData"]["port"]`, `"1"`); code != 1 || !strings.Contains(errOut, "--allow-unlisted") {
		t.Errorf("an unlisted recipient: exit %d, %s", code, errOut)
	}
	if code, out, errOut := b.sluice("updatekeys", "db.yaml"); code != 2 || !strings.Contains(errOut, "--yes") || !strings.Contains(out, "- age "+other.Recipient().String()) {
		t.Errorf("unasked: exit %d, %s, %s", code, out, errOut)
	}
	b.must("updatekeys", "-y", "db.yaml")
	if as(other) != 128 {
		t.Error("a removed recipient opens it")
	}
	if !strings.Contains(b.read("db.yaml"), values) {
		t.Error("updatekeys sealed the values anew")
	}
	b.must("set", "db.yaml", `["stringData"]["port"]`, `"1"`)
	b.write("db.yaml", strings.Replace(b.read("db.yaml"), "^(data|stringData)$", "^port$", 1))
	if code, _, errOut := b.sluice("edit", "--ignore-mac", "db.yaml"); code != 1 || !strings.Contains(errOut, "SLU-SECRET-001") || strings.Contains(errOut, "CANARY") {
		t.Errorf("a narrowed file: exit %d, %s", code, errOut)
	}
}

// Only what is under an old version is touched, and only its wrapped key.
func TestOutdatedFilesAreWrappedForTheNewestVersion(t *testing.T) {
	b, v := newBench(t), newVault(t)
	b.env = append(b.env, v.env...)
	b.write("a/s.yaml", sample)
	b.must("encrypt", "--azure-kv", v.versionless(), "-i", "a/s.yaml")
	old := b.read("a/s.yaml")
	newer := v.rotate(t)
	b.write("b/s.yaml", sample)
	b.must("encrypt", "--azure-kv", v.versionless(), "-i", "b/s.yaml")
	current := b.read("b/s.yaml")
	out := b.must("rotate", "-i", "--outdated", "a", "b")
	if !strings.Contains(out, "re-wrapped") || !strings.Contains(out, "up to date") || b.read("b/s.yaml") != current {
		t.Errorf("%s", out)
	}
	renewed := b.read("a/s.yaml")
	if newer == v.key.Version || !strings.Contains(renewed, newer) || strings.Contains(renewed, v.key.Version) {
		t.Errorf("from %s to %s:\n%s", v.key.Version, newer, renewed)
	}
	sealed := regexp.MustCompile(`(?m)^.*(password|port|mac|lastmodified): .*$`)
	if strings.Join(sealed.FindAllString(renewed, -1), "\n") != strings.Join(sealed.FindAllString(old, -1), "\n") {
		t.Error("values were sealed anew")
	}
	b.must("rotate", "-i", "--outdated", ".")
	if b.read("a/s.yaml") != renewed {
		t.Error("a second run wrote again")
	}
	if _, plain, errOut := b.sops("decrypt", "a/s.yaml"); plain != sample {
		t.Errorf("sops: %s", errOut)
	}
}

// Each of the inputs that people get wrong says what, where, why and what to do, ends as sops ends, and leaves the file.
func TestBadInputIsNamedAndLeftAlone(t *testing.T) {
	b := newBench(t)
	b.write("sealed.yaml", sample)
	b.must("encrypt", "--age", b.recipient, "-i", "sealed.yaml")
	sealed := b.read("sealed.yaml")
	age := []string{"--age", b.recipient}
	for name, tt := range map[string]struct {
		file, text string
		args       []string
		exit       int
		want       string
	}{
		"no key source":       {"x.yaml", sample, []string{"encrypt", "-i"}, 1, "no .sops.yaml"},
		"encrypted already":   {"x.yaml", sealed, append([]string{"encrypt", "-i"}, age...), 203, "already encrypted"},
		"empty":               {"x.yaml", "", append([]string{"encrypt", "-i"}, age...), 92, "empty"},
		"not YAML":            {"x.yaml", "a: [\n", append([]string{"encrypt", "-i"}, age...), 2, "not valid yaml"},
		"conflict marks":      {"x.yaml", "<<<<<<< HEAD\n" + sealed, []string{"decrypt"}, 2, "x.yaml:1"},
		"not UTF-8":           {"x.yaml", "a: 1\nb: \xff\n", append([]string{"encrypt", "-i"}, age...), 2, "x.yaml:2"},
		"never sealed":        {"x.yaml", sample, []string{"decrypt"}, 1, "no sops metadata"},
		"MAC":                 {"x.yaml", strings.Replace(sealed, "name: x", "name: y", 1), []string{"decrypt"}, 51, "MAC mismatch"},
		"value":               {"x.yaml", strings.Replace(sealed, "password: ENC", "passwort: ENC", 1), []string{"decrypt"}, 25, "passwort"},
		"newer sops":          {"x.yaml", strings.Replace(sealed, "version: 3.13.2", "version: 4.0.0", 1), []string{"rotate", "-i"}, 1, "sops 4.0.0"},
		"unknown metadata":    {"x.yaml", strings.Replace(sealed, "    version:", "    novelty: 1\n    version:", 1), []string{"set"}, 1, "novelty"},
		"no such path":        {"x.yaml", sealed, []string{"decrypt", "--extract", `["stringData"]["nope"]`}, 1, `["nope"]`},
		"bad path":            {"x.yaml", sealed, []string{"decrypt", "--extract", `stringData`}, 91, "not a path"},
		"two selections":      {"x.yaml", sample, append([]string{"encrypt", "-i", "--encrypted-regex", "a", "--encrypted-suffix", "b"}, age...), 8, "more than one"},
		"private key pasted":  {"x.yaml", sample, []string{"encrypt", "-i", "--age", "AGE-SECRET-KEY-1CANARY"}, 1, "no recipient"},
		"key wrong type":      {"x.yaml", sample, []string{"encrypt", "-i", "--azure-kv", "https://example.com/nokey"}, 1, "--azure-kv"},
		"comment in a list":   {"x.yaml", "a:\n    - x\n    # CANARY\n    - y\n", append([]string{"encrypt", "-i"}, age...), 23, "comment inside a list"},
		"read-only":           {"x.yaml", sealed, []string{"rotate", "-i"}, 3, "read-only"},
		"symbolic link":       {"x.yaml", sealed, []string{"rotate", "-i"}, 3, "symbolic link"},
		"missing":             {"missing.yaml", "", []string{"decrypt"}, 100, "no such file"},
		"rules with a typo":   {"x.yaml", sample, []string{"encrypt", "-i"}, 0, "encrypted_regx"},
		"rules match nothing": {"x.yaml", sample, []string{"encrypt", "-i"}, 1, "path_regex of none matches"},
	} {
		t.Run(name, func(t *testing.T) {
			b := &bench{t: t, dir: t.TempDir(), recipient: b.recipient, env: b.env}
			if tt.file != "missing.yaml" {
				b.write(tt.file, tt.text)
			}
			switch name {
			case "read-only":
				if err := os.Chmod(b.path(tt.file), 0o444); err != nil {
					t.Fatal(err)
				}
			case "symbolic link":
				if err := os.Rename(b.path("x.yaml"), b.path("real.yaml")); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink("real.yaml", b.path("x.yaml")); err != nil {
					t.Fatal(err)
				}
			case "rules with a typo":
				b.write(".sops.yaml", "creation_rules:\n  - encrypted_regx: x\n    age: "+b.recipient+"\n")
			case "rules match nothing":
				b.write(".sops.yaml", "creation_rules:\n  - path_regex: ^other/\n    age: "+b.recipient+"\n")
			}
			args := append(append([]string{}, tt.args...), tt.file)
			if tt.args[0] == "set" {
				args = []string{"set", tt.file, `["a"]`, `"b"`}
			}
			code, _, errOut := b.sluice(args...)
			if tt.exit != 0 && code != tt.exit || code == 0 || !strings.Contains(errOut, tt.want) || strings.Contains(errOut, "CANARY") {
				t.Errorf("exit %d, want %d with %q:\n%s", code, tt.exit, tt.want, errOut)
			}
			if !strings.Contains(errOut, "\n  fix  ") {
				t.Errorf("no fix:\n%s", errOut)
			}
			if tt.file != "missing.yaml" && b.read(tt.file) != tt.text {
				t.Error("the file was changed")
			}
			if left, _ := filepath.Glob(b.path(".sluice-*")); len(left) > 0 {
				t.Errorf("left %v", left)
			}
		})
	}
}
