package rules

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	upstream "github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/config"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

const (
	ageOne = "age1lzd99uklcjnc0e7d860axevet2cz99ce9pq6tzuzd05l5nr28ams36nvun"
	ageTwo = "age1yt3tfqlfrwdwx0z0ynwplcr6qxcxfaqycuprpmy89nr83ltx74tqdpszlw"
	kvOne  = "https://one.vault.azure.net/keys/sops/0123456789abcdef0123456789abcdef"
	kvBare = "https://one.vault.azure.net/keys/sops"
)

// article is the layout of the article that this program follows: one rule for the whole tree.
const article = `creation_rules:
  - path_regex: .*\.yaml
    encrypted_regex: ^(data|stringData)$
    azure_keyvault: ` + kvOne + "\n"

const grouped = `keys:
  - &admin ` + ageOne + `
stores:
  yaml: {indent: 2}
  json: {indent: 3}
creation_rules:
  - path_regex: ^prod/
    shamir_threshold: 2
    encrypted_suffix: _secret
    mac_only_encrypted: true
    key_groups:
      - age: [*admin, ` + ageTwo + `]
        pgp: [85D7 7543B3D624B63CEA9E6DBC17301B491B3F21]
      - merge:
          - azure_keyvault: [{vaultUrl: https://one.vault.azure.net, key: sops, version: v1}]
          - azure_keyvault: [{vaultUrl: https://one.vault.azure.net, key: sops, version: v1}]
        kms: [{arn: "arn:aws:kms:eu-west-1:1:key/a", role: "arn:aws:iam::1:role/r", context: {Environment: prod}, aws_profile: p}]
        gcp_kms: [{resource_id: projects/p/locations/l/keyRings/r/cryptoKeys/k}]
        hckms: [{key_id: "region:uuid"}]
        hc_vault: [https://vault.example.com:8200/v1/sops/keys/one]
  - path_regex: \.env$
    unencrypted_regex: ^public
    age: [` + ageOne + `, ` + ageTwo + `]
    kms: "arn:aws:kms:eu-west-1:1:key/a+arn:aws:iam::1:role/r, arn:aws:kms:eu-west-1:1:key/b,"
    aws_profile: q
    gcp_kms: projects/p/locations/l/keyRings/r/cryptoKeys/k
    hc_vault_transit_uri: https://vault.example.com:8200/v1/sops/keys/one
    pgp: 85D77543B3D624B63CEA9E6DBC17301B491B3F21,FBC7B9E2A4F9289AC0C1D4843D16CEE4A27381B4
    azure_keyvault: [` + kvOne + `]
    hckms: ["region:uuid"]
  - path_regex: nobody
    encrypted_comment_regex: ENC
  - age: ` + ageTwo + "\n"

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), Name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func names(groups []recipient.Group) string {
	var out []string
	for _, g := range groups {
		var in []string
		for _, k := range g {
			in = append(in, Recipient(k))
		}
		out = append(out, "["+strings.Join(in, " ")+"]")
	}
	return strings.Join(out, "")
}

// upstreamNames is names for the library's recipients.
func upstreamNames(groups []upstream.KeyGroup) string {
	var out []string
	for _, g := range groups {
		var in []string
		for _, k := range g {
			in = append(in, k.TypeToIdentifier()+" "+k.ToString())
		}
		out = append(out, "["+strings.Join(in, " ")+"]")
	}
	return strings.Join(out, "")
}

// TestRulesAreReadAsSopsReadsThem holds every field of a rule against what the library makes of the same file.
func TestRulesAreReadAsSopsReadsThem(t *testing.T) {
	onlyEnv := strings.Replace(article, ".*\\.yaml", `\.env$`, 1)
	for _, text := range []string{article, grouped, onlyEnv, "creation_rules: []\n", "stores: {}\n"} {
		path := write(t, text)
		dir := filepath.Dir(path)
		f, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"a.yaml", "prod/a.yaml", "x/prod/a.yaml", "b.env", "prod/b.env", "nobody", "deploy/nobody.json", "c", "../outside.yaml"} {
			file := filepath.Join(dir, name)
			want, wantErr := config.LoadCreationRuleForFile(path, file, nil)
			got, err := f.For(file)
			if err != nil {
				t.Fatal(err)
			}
			if want == nil || wantErr != nil {
				if got != nil {
					t.Errorf("%s: rule at line %d, and sops has none: %v", name, got.Line, wantErr)
				}
				continue
			}
			if got == nil {
				t.Errorf("%s: no rule, and sops has one", name)
				continue
			}
			if g, w := names(got.Groups), upstreamNames(want.KeyGroups); g != w {
				t.Errorf("%s: groups\n%s\nwant\n%s", name, g, w)
			}
			g := fmt.Sprint(got.ShamirThreshold, got.EncryptedRegex, got.UnencryptedRegex, got.EncryptedSuffix, got.UnencryptedSuffix,
				got.EncryptedCommentRegex, got.UnencryptedCommentRegex, got.MACOnlyEncrypted)
			w := fmt.Sprint(want.ShamirThreshold, want.EncryptedRegex, want.UnencryptedRegex, want.EncryptedSuffix, want.UnencryptedSuffix,
				want.EncryptedCommentRegex, want.UnencryptedCommentRegex, want.MACOnlyEncrypted)
			if g != w {
				t.Errorf("%s: %s, want %s", name, g, w)
			}
		}
		stores, err := config.LoadStoresConfig(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := f.Stores, (Stores{stores.YAML.Indent, stores.JSON.Indent, stores.JSONBinary.Indent}); got != want {
			t.Errorf("stores %+v, want %+v", got, want)
		}
	}
}

func TestAKeyVaultKeyWithoutVersionStaysWithout(t *testing.T) {
	f, err := Parse(Name, []byte("creation_rules: [{azure_keyvault: "+kvBare+"}]"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.For("a.yaml")
	if err != nil || r == nil {
		t.Fatalf("rule %v, %v", r, err)
	}
	if got := names(r.Groups); got != "[azure_kv "+kvBare+"/]" {
		t.Errorf("recipients %s", got)
	}
}

func TestPathsAreToldRelativeToTheFolderOfTheRules(t *testing.T) {
	for _, tt := range []struct{ config, path, want string }{
		{".sops.yaml", "a/b.yaml", "a/b.yaml"},
		{"apps/.sops.yaml", "apps/b.yaml", "b.yaml"},
		{"apps/.sops.yaml", "other/b.yaml", "other/b.yaml"},
		{"/r/.sops.yaml", "/r/x/../b.yaml", "b.yaml"},
		{"/r/.sops.yaml", "/rest/b.yaml", "/rest/b.yaml"},
		{"/.sops.yaml", "/r/b.yaml", "r/b.yaml"},
	} {
		f := &File{Path: tt.config}
		if got, err := f.relative(tt.path); err != nil || got != tt.want {
			t.Errorf("%s from %s: %q, want %q (%v)", tt.path, tt.config, got, tt.want, err)
		}
	}
}

func TestEveryCallHasItsOwnRecipients(t *testing.T) {
	f, err := Parse(Name, []byte(article))
	if err != nil {
		t.Fatal(err)
	}
	a, _ := f.For("a.yaml")
	b, _ := f.For("a.yaml")
	a.Groups[0][0].SetWrapped([]byte("wrapped"))
	if len(b.Groups[0][0].Wrapped()) > 0 {
		t.Error("what one sealer wraps, another one sees")
	}
}

func TestRulesAreFoundUpwards(t *testing.T) {
	path := write(t, article)
	deep := filepath.Join(filepath.Dir(path), "a", "b")
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, start := range []string{deep, filepath.Join(deep, "not-yet.yaml"), filepath.Dir(path)} {
		if got, ok := Find(start); !ok || got != path {
			t.Errorf("from %s: %q, %v", start, got, ok)
		}
	}
}

func TestFaultsNameTheLine(t *testing.T) {
	for name, tt := range map[string]struct {
		text, file string
		seen       []string
	}{
		"an unknown field":           {"creation_rules:\n  - encrypted_regexp: ^data$\n", ".sops.yaml:2", []string{`"encrypted_regexp"`, "did you mean encrypted_regex?"}},
		"an unknown field on top":    {"creation_rule:\n  - age: x\n", ".sops.yaml:1", []string{"did you mean creation_rules?"}},
		"several faults":             {"creation_rules:\n  - path_regex: (\n    foo: 1\n  - mac_only_encrypted: maybe\n", ".sops.yaml:2", []string{"regular expression", "line 3: unknown field", "line 4: there must be true or false"}},
		"two selections":             {"creation_rules:\n  - encrypted_regex: a\n    encrypted_suffix: b\n", ".sops.yaml:2", []string{"more than one"}},
		"a field that stands twice":  {"creation_rules:\n  - age: " + ageOne + "\n    age: " + ageTwo + "\n", ".sops.yaml:3", []string{"twice"}},
		"a threshold too high":       {"creation_rules:\n  - shamir_threshold: 3\n    key_groups: [{pgp: [a]}, {pgp: [b]}]\n", ".sops.yaml:2", []string{"shamir_threshold 3"}},
		"no recipient":               {"creation_rules:\n  - age: age1nonsense\n", ".sops.yaml:2", []string{"age recipient"}},
		"a group that merges itself": {"creation_rules:\n  - key_groups:\n      - &a\n        merge: [*a]\n", ".sops.yaml:3", []string{"merges itself"}},
		"no vault":                   {"creation_rules:\n  - azure_keyvault: http://x/keys/y\n", ".sops.yaml:2", []string{"Key Vault"}},
		"no mapping":                 {"- a\n", ".sops.yaml:1", []string{"no mapping"}},
		"no YAML":                    {"a: b\n\tc: d\n", ".sops.yaml:2", []string{"not valid YAML"}},
		"two documents":              {"stores: {}\n---\nstores: {}\n", ".sops.yaml:2", []string{"second document"}},
	} {
		_, err := Parse(Name, []byte(tt.text))
		f := fault.From(err)
		if f == nil {
			t.Errorf("%s: no fault", name)
			continue
		}
		if f.File != tt.file || f.Fix == "" {
			t.Errorf("%s: at %s, want %s: %v", name, f.File, tt.file, f)
		}
		for _, s := range tt.seen {
			if !strings.Contains(f.Seen, s) {
				t.Errorf("%s: %q does not say %q", name, f.Seen, s)
			}
		}
	}
}

func TestAPrivateKeyAmongTheRecipientsIsNotQuoted(t *testing.T) {
	const private = "AGE-SECRET-KEY-1QQPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQ4EKCEX"
	for _, text := range []string{"creation_rules:\n  - age: " + private + "\n", "creation_rules:\n  - key_groups: [{age: [" + private + "]}]\n"} {
		_, err := Parse(Name, []byte(text))
		if err == nil || strings.Contains(err.Error(), "QSZQGP") || !strings.Contains(err.Error(), "private age key") {
			t.Errorf("fault %v", err)
		}
	}
}

func TestMissingRulesHaveTheExitCodeOfSops(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), Name))
	if fault.ExitCode(err) != 61 {
		t.Errorf("exit %d: %v", fault.ExitCode(err), err)
	}
}

// FuzzParse: whatever Parse takes, sops takes too, and both see the same recipients.
func FuzzParse(f *testing.F) {
	for _, s := range []string{article, grouped, "", "creation_rules: [{<<: {age: x}}]", "a: &a [*a]\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse("/r/"+Name, data)
		if err != nil {
			if fault.From(err) == nil {
				t.Errorf("no fault: %v", err)
			}
			return
		}
		for _, name := range []string{"/r/a.yaml", "/r/prod/a.env", "a"} {
			r, err := file.For(name)
			if err != nil {
				t.Fatalf("parsed, but not built: %v", err)
			}
			if r == nil {
				continue
			}
			groups := slices.Clone(r.Groups)
			doc := &sops.Metadata{KeyGroups: groups, ShamirThreshold: r.ShamirThreshold, EncryptedRegex: r.EncryptedRegex,
				UnencryptedRegex: r.UnencryptedRegex, EncryptedSuffix: r.EncryptedSuffix, UnencryptedSuffix: r.UnencryptedSuffix,
				EncryptedCommentRegex: r.EncryptedCommentRegex, UnencryptedCommentRegex: r.UnencryptedCommentRegex, MACOnlyEncrypted: r.MACOnlyEncrypted}
			if found := append(Narrower(r, doc), Recipients(r, doc)...); len(found) > 0 {
				t.Errorf("a document sealed by the rule differs from it: %+v", found)
			}
		}
	})
}
