package cli

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"

	"github.com/sluice-gitops/sluice/internal/testkit"
)

// documents are what the matrix seals, in the form that sops itself would write, so that opening gives the same bytes.
var documents = map[string]string{
	"secret.yaml": "apiVersion: v1\nkind: Secret\nmetadata:\n    name: x\n    # plain: keep this\nstringData:\n    # seal: the next one\n    password: CANARY-1\n    token_sealed: CANARY-2\n    host_unencrypted: db.local\n    lines: |\n        one\n        two\n    number: 42\n    ratio: 1.5\n    flag: true\n    nothing: null\n    when: 2026-01-02T03:04:05Z\n    empty: \"\"\n    list:\n        - CANARY-3\n        - deep: CANARY-4\n",
	"stream.yaml": "apiVersion: v1\nkind: Secret\nstringData:\n    # seal: one\n    password: CANARY-1\n---\napiVersion: v1\nkind: Secret\nstringData:\n    token_sealed: CANARY-2\n    # plain: two\n    host_unencrypted: db.local\n",
	"values.json": "{\n\t\"password\": \"CANARY-1\",\n\t\"token_sealed\": \"CANARY-2\",\n\t\"host_unencrypted\": \"db.local\",\n\t\"number\": 42,\n\t\"ratio\": 1.5,\n\t\"flag\": true,\n\t\"list\": [\n\t\t\"CANARY-3\",\n\t\t{\n\t\t\t\"password\": \"CANARY-4\"\n\t\t}\n\t]\n}\n",
	"prod.env":    "# seal: note\nPASSWORD=CANARY-1\ntoken_sealed=CANARY-2\n# plain: note\nhost_unencrypted=db.local\nLINES=one\\ntwo\n",
	"app.ini":     "[db]\n; seal: note\npassword         = CANARY-1\ntoken_sealed     = CANARY-2\nhost_unencrypted = db.local\n\n[other]\nport = 8080\n",
	"blob.bin":    "\x00\x01 CANARY-1 \xff bytes\n",
}

var selections = []struct {
	name  string
	flags []string
}{
	{"default", nil},
	{"encrypted-regex", []string{"--encrypted-regex", "(?i)^(data|stringData|password)$"}},
	{"unencrypted-regex", []string{"--unencrypted-regex", "^(kind|apiVersion|metadata|number|other)$"}},
	{"encrypted-suffix", []string{"--encrypted-suffix", "_sealed"}},
	{"unencrypted-suffix", []string{"--unencrypted-suffix", "_unencrypted"}},
	{"encrypted-comment-regex", []string{"--encrypted-comment-regex", "seal:"}},
	{"unencrypted-comment-regex", []string{"--unencrypted-comment-regex", "plain:"}},
	{"mac-only-encrypted", []string{"--mac-only-encrypted", "--encrypted-regex", "(?i)^(stringData|password)$"}},
}

const interopIntro = `# Interoperation with sops

Measured by ` + "`go test ./internal/cli -run Interoperation`" + ` with the upstream command that go.mod names, both ways: → is
sealed by sluice and opened by sops, ← the other way round. ✓ means that the plaintext came back byte for byte, and that
both sealed the same values. Binary files are one value, so that selections do not apply to them.

| keys | stand in this test for |
|---|---|
| age, 2 of 3 groups | themselves; the third group is a Key Vault key |
| Key Vault | the emulator, behind Azure's own host names |
| Vault transit, AWS KMS, GCP KMS | servers of the test that answer as the services' API references say, which both commands reach by sops's own settings: the key's URI, ` + "`AWS_ENDPOINT_URL`, `SOPS_GCP_KMS_ENDPOINT`" + ` |
| Vault transit with HashiCorp's server | not in this table: building that server takes minutes. ` + "`make judges`" + ` measures the same cells with it (` + "`TestJudgeVaultInteroperation`" + `), all of which have to be ✓ |
| PGP | not in this table: sops has no PGP without a gpg program. ` + "`make judges`" + ` measures the same cells with GnuPG (` + "`TestJudgePGPInteroperation`" + `), all of which have to be ✓ |
| Huawei Cloud KMS | not there: no key of it is opened or wrapped, and a file for it alone is refused by name |

One hole is not in the table: sops 3.13.2 seals a comment that stands inside a list as one more item of the list, and can
then not open its own file (MAC mismatch). sluice refuses to seal such a file and says so.

`

// Upstream's command and ours seal every format under every selection for every kind of recipient, and open what the
// other one sealed. Beyond the plaintext, what was sealed and what was left must be the same.
func TestInteroperationWithUpstream(t *testing.T) {
	b := newBench(t)
	v := newVault(t)
	b.env = append(b.env, v.env...)
	second, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range b.env {
		if strings.HasPrefix(e, "SOPS_AGE_KEY=") {
			b.env[i] = e + "\n" + second.String()
		}
	}
	b.write("shamir.yaml", fmt.Sprintf("creation_rules:\n  - shamir_threshold: 2\n    key_groups:\n      - age: [%s]\n      - age: [%s]\n      - azure_keyvault:\n          - vaultUrl: %s\n            key: %s\n            version: %s\n",
		b.recipient, second.Recipient(), v.key.Vault, v.key.Name, v.key.Version))
	services := newKeyServices(t)
	b.env = append(b.env, services.env...)
	recipients := []interopRecipient{
		{"age", []string{"--age", b.recipient}},
		{"Key Vault", []string{"--azure-kv", v.versionless()}},
		{"2 of 3 groups", []string{"--config", "shamir.yaml"}},
		{"Vault transit", []string{"--hc-vault-transit", services.vaultURI()}},
		{"AWS KMS", []string{"--kms", awsKeyARN}},
		{"GCP KMS", []string{"--gcp-kms", googleKeyID}},
	}
	text := interopIntro + measure(t, b, recipients)
	t.Log("\n" + text)
	testkit.Golden(t, filepath.Join("..", "..", "docs", "secrets-interop.md"), []byte(text))
}

type interopRecipient struct {
	name  string
	flags []string
}

// measure fills the matrix for these recipients and gives it as a table.
func measure(t *testing.T, b *bench, recipients []interopRecipient) string {
	m := &matrix{cells: map[string]string{}}
	var wg sync.WaitGroup
	slots := make(chan struct{}, 4)
	for _, who := range recipients {
		for _, sel := range selections {
			wg.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				interoperate(t, b, m, who.name, sel.name, slices.Concat(who.flags, sel.flags))
			})
		}
	}
	wg.Wait()
	text := "| format | what is sealed |"
	for _, who := range recipients {
		text += " " + who.name + " → | ← |"
	}
	text += "\n|---|---|" + strings.Repeat("---|---|", len(recipients)) + "\n"
	for _, doc := range slices.Sorted(maps.Keys(documents)) {
		for _, sel := range selections {
			text += "| " + doc + " | " + sel.name + " |"
			for _, who := range recipients {
				text += " " + m.cells[key(who.name, sel.name, doc, "→")] + " | " + m.cells[key(who.name, sel.name, doc, "←")] + " |"
			}
			text += "\n"
		}
	}
	return text
}

type matrix struct {
	mu    sync.Mutex
	cells map[string]string
}

func key(parts ...string) string { return strings.Join(parts, "\x00") }

func (m *matrix) put(ok bool, parts ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cells[key(parts...)] = map[bool]string{true: "✓", false: "✗"}[ok]
}

// random is what differs between two seals of one document.
var random = regexp.MustCompile(`ENC\[AES256_GCM,data:[^\]]*,type:|(?s)-----BEGIN (?:AGE|PGP).*?END (?:AGE|PGP)[^\n"]*|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ|enc: \S+|"enc": "[^"]*"|enc=[^\n]*|enc += [^\n]*`)

func interoperate(t *testing.T, b *bench, m *matrix, who, sel string, flags []string) {
	dir := strings.ReplaceAll(who+"/"+sel, " ", "-")
	var ours, theirs []string
	for _, doc := range slices.Sorted(maps.Keys(documents)) {
		ours = append(ours, b.write(dir+"/ours/"+doc, documents[doc]))
		theirs = append(theirs, b.write(dir+"/theirs/"+doc, documents[doc]))
	}
	mine := flags
	if slices.Contains(flags, "--config") { // under a rule we refuse to leave a Secret's values plain
		mine = append(slices.Clone(flags), "--allow-narrower")
	}
	if code, _, errOut := b.sluice(slices.Concat([]string{"encrypt", "-i"}, mine, ours)...); code != 0 {
		t.Errorf("%s, %s: sluice encrypt: %s", who, sel, errOut)
	}
	for i, doc := range slices.Sorted(maps.Keys(documents)) {
		more := []string(nil)
		if sel == "default" && strings.HasSuffix(doc, ".yaml") && !slices.Contains(flags, "--config") { // what we choose for a Secret of which no rule speaks
			more = []string{"--encrypted-regex", "^(data|stringData)$"}
		}
		if code, _, errOut := b.sops(slices.Concat([]string{"--encrypt", "--in-place"}, flags, more, theirs[i:i+1])...); code != 0 {
			t.Errorf("%s, %s, %s: sops --encrypt: %s", who, sel, doc, errOut)
		}
		sealedOurs, sealedTheirs := readFile(t, ours[i]), readFile(t, theirs[i])
		same := random.ReplaceAllString(sealedOurs, "~") == random.ReplaceAllString(sealedTheirs, "~")
		if !same {
			t.Errorf("%s, %s, %s: sealed differently\nours:\n%s\ntheirs:\n%s", who, sel, doc, sealedOurs, sealedTheirs)
		}
		_, plain, errOut := b.sops("--decrypt", ours[i])
		m.put(same && plain == documents[doc], who, sel, doc, "→")
		if plain != documents[doc] {
			t.Errorf("%s, %s, %s: sops opens ours to\n%s\n%s", who, sel, doc, plain, errOut)
		}
	}
	if code, _, errOut := b.sluice(append([]string{"decrypt", "-i"}, theirs...)...); code != 0 {
		t.Errorf("%s, %s: sluice decrypt: %s", who, sel, errOut)
	}
	for i, doc := range slices.Sorted(maps.Keys(documents)) {
		plain := readFile(t, theirs[i])
		m.put(plain == documents[doc], who, sel, doc, "←")
		if plain != documents[doc] {
			t.Errorf("%s, %s, %s: we open theirs to\n%s", who, sel, doc, plain)
		}
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	}
	return string(data)
}
