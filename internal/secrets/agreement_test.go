package secrets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	upage "github.com/getsops/sops/v3/age"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/secrets/check"
	"github.com/sluice-gitops/sluice/internal/secrets/rules"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// library opens with the age key that the sops library finds in the environment, and asks nothing else.
type library struct{}

func (library) DataKey(_ context.Context, m *sops.Metadata) ([]byte, error) {
	for _, k := range m.KeyGroups[0] {
		if k, ok := k.(*recipient.Age); ok {
			if key, err := (&upage.MasterKey{Recipient: k.Recipient, EncryptedKey: k.EncryptedKey}).Decrypt(); err == nil {
				return key, nil
			}
		}
	}
	return nil, errors.New("no age key")
}

var agreeDocs = map[string]string{
	"secret.yaml": "apiVersion: v1\nkind: Secret\nmetadata:\n    name: x\nstringData:\n    # seal: it\n    password: a\n    port: \"8080\"\n",
	"list.yaml":   "apiVersion: v1\nkind: List\nitems:\n    - apiVersion: v1\n      kind: Secret\n      data:\n        password: YQ==\n",
	"values.yaml": "password: a\nhost: b\n",
	"values.json": "{\n\t\"password\": \"a\",\n\t\"host\": \"b\"\n}\n",
	"prod.env":    "password=a\nhost=b\n",
	"app.ini":     "[db]\npassword = a\nhost     = b\n",
	"blob.bin":    "\x00\x01",
}

var agreeChoices = []Selection{
	{}, {EncryptedRegex: "^(data|stringData)$"}, {EncryptedRegex: "^(data|stringData|password)$"}, {EncryptedRegex: "^password$"}, {EncryptedRegex: "^nothing$"},
	{UnencryptedRegex: "^(kind|apiVersion|metadata|host)$"}, {UnencryptedRegex: "."}, {EncryptedSuffix: "word"}, {UnencryptedSuffix: "word"},
	{EncryptedCommentRegex: "seal:"}, {UnencryptedCommentRegex: "seal:"}, {MACOnlyEncrypted: true}, {MACOnlyEncrypted: true, EncryptedRegex: "^(data|stringData|password)$"},
}

// fields writes a choice as a rule does.
func (s Selection) fields() (out string) {
	for _, f := range []struct{ name, value string }{
		{"encrypted_regex", s.EncryptedRegex}, {"unencrypted_regex", s.UnencryptedRegex}, {"encrypted_suffix", s.EncryptedSuffix},
		{"unencrypted_suffix", s.UnencryptedSuffix}, {"encrypted_comment_regex", s.EncryptedCommentRegex}, {"unencrypted_comment_regex", s.UnencryptedCommentRegex},
	} {
		if f.value != "" {
			out += fmt.Sprintf("    %s: %q\n", f.name, f.value)
		}
	}
	if s.MACOnlyEncrypted {
		out += "    mac_only_encrypted: true\n"
	}
	return out
}

// repository is a folder with rules, and an engine that works there.
type repository struct {
	dir    string
	engine Engine
}

func newRepository(t *testing.T, rule string) *repository {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, rules.Name)
	if err := os.WriteFile(config, []byte("creation_rules:\n  - path_regex: .\n"+rule), 0o644); err != nil {
		t.Fatal(err)
	}
	return &repository{dir, Engine{Keys: library{}, Config: &Config{Path: config}}}
}

// found is what check finds in a sealed file: what fails it for good, and what the commands tell of and let pass.
func (r *repository) found(t *testing.T, path string, data []byte) (bad, told []check.Finding) {
	t.Helper()
	rule, _, err := r.engine.rule(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range check.Sealed(path, data, rule) {
		if f.Check == string(rules.Missing) || f.Check == string(rules.OtherKey) {
			told = append(told, f)
		} else {
			bad = append(bad, f)
		}
	}
	return bad, told
}

// What the commands that seal take without a flag that allows it, check finds clean; what check finds in a file, they
// refuse to seal again. Every rule against every choice of the command line against every document.
func TestWhatIsSealedWithoutAnAllowFlagIsWhatCheckFindsClean(t *testing.T) {
	id, other := newIdentity(t), newIdentity(t)
	t.Setenv("SOPS_AGE_KEY", id.String())
	group := func(ids ...*age.X25519Identity) func() ([]recipient.Group, error) {
		return func() ([]recipient.Group, error) {
			var names []string
			for _, i := range ids {
				names = append(names, i.Recipient().String())
			}
			g, err := Recipients{Age: strings.Join(names, ",")}.Keys()
			return []recipient.Group{g}, err
		}
	}
	accepted, refused := 0, 0
	judge := func(r *repository, what, path string, out Output, err error) {
		t.Helper()
		if err != nil {
			if f := fault.From(err); f == nil || !slices.Contains([]string{"SLU-SECRET-001", "SLU-SECRET-002", "SLU-USAGE-021", "SLU-SOPS-013"}, f.Code) {
				t.Errorf("%s: %v", what, err)
			}
			refused++
			return
		}
		accepted++
		bad, told := r.found(t, path, out.Data)
		for _, f := range bad {
			t.Errorf("%s was accepted, and check finds %s: %s", what, f.Check, f.Seen)
		}
		for _, f := range told {
			if !slices.ContainsFunc(out.Tell, func(s string) bool { return strings.Contains(s, f.Seen) }) {
				t.Errorf("%s: nothing told of %s", what, f.Seen)
			}
		}
	}
	for _, want := range agreeChoices {
		for people, listed := range map[string]string{"one": id.Recipient().String(), "two": id.Recipient().String() + "," + other.Recipient().String()} {
			r := newRepository(t, want.fields()+"    age: "+listed+"\n")
			for i, have := range agreeChoices {
				for name, text := range agreeDocs {
					path := filepath.Join(r.dir, name)
					for _, who := range [][]*age.X25519Identity{{id}, {id, other}} {
						if (people == "two" || len(who) == 2) && (i > 1 || name != "secret.yaml") {
							continue // recipients are judged whatever the values are
						}
						what := fmt.Sprintf("rule %q for %s, %q for %d, %s", want.fields(), people, have.fields(), len(who), name)
						e := r.engine
						e.Select, e.Groups = have, group(who...)
						out, err := e.Encrypt(t.Context(), path, []byte(text), false)
						judge(r, "encrypt: "+what, path, out, err)

						// The same document, as somebody else may have sealed it.
						e.AllowNarrower, e.AllowUnlisted, e.Config = true, true, nil
						foreign, err := e.Encrypt(t.Context(), path, []byte(text), false)
						if err != nil {
							continue
						}
						bad, _ := r.found(t, path, foreign.Data)
						e = r.engine
						out, err = e.Rotate(t.Context(), path, foreign.Data, Rotation{}, false)
						judge(r, "rotate: "+what, path, out, err)
						if len(bad) > 0 != (err != nil) {
							t.Errorf("rotate: %s: check finds %v, the command says %v", what, bad, err)
						}
						if name == "secret.yaml" {
							out, err = e.Set(t.Context(), path, foreign.Data, sops.TreePath{"stringData", "more"}, "b", false)
							judge(r, "set: "+what, path, out, err)
							out, err = e.Edit(t.Context(), path, foreign.Data, func(_ context.Context, _ string, text []byte, check func([]byte) error) ([]byte, error) {
								text = bytes.Replace(text, []byte("password"), []byte("passphrase"), 1)
								return text, check(text)
							})
							judge(r, "edit: "+what, path, out, err)
						}
					}
				}
			}
		}
	}
	if accepted < 500 || refused < 500 {
		t.Errorf("%d accepted, %d refused: the test proves little", accepted, refused)
	}
	t.Logf("%d accepted, %d refused", accepted, refused)
}

func newIdentity(t *testing.T) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}
