package rules

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// parseRule returns the first rule of a text.
func parseRule(t *testing.T, text string) *Rule {
	t.Helper()
	f, err := Parse(Name, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.For("a.yaml")
	if err != nil || r == nil {
		t.Fatalf("rule %v, %v", r, err)
	}
	return r
}

func checks(found []Finding) string {
	var out []string
	for _, f := range found {
		out = append(out, string(f.Check))
	}
	return strings.Join(out, " ")
}

func TestADocumentMayNotSealLessThanItsRule(t *testing.T) {
	for _, tt := range []struct {
		rule string
		doc  sops.Metadata
		want string
	}{
		{"encrypted_regex: ^(data|stringData)$", sops.Metadata{EncryptedRegex: "^(data|stringData)$"}, ""},
		{"encrypted_regex: ^(data|stringData)$", sops.Metadata{EncryptedRegex: "^(stringData|data|extra)$"}, ""},
		{"encrypted_regex: ^(data|stringData)$", sops.Metadata{EncryptedRegex: "^data$"}, "narrowed-rule"},
		{"encrypted_regex: ^(data|stringData)$", sops.Metadata{EncryptedRegex: "^(data|stringDat)$"}, "narrowed-rule"},
		{"encrypted_regex: ^(data|stringData)$", sops.Metadata{EncryptedRegex: "data"}, "narrowed-rule"}, // wider, but not to be known
		{"encrypted_regex: ^(data|stringData)$", sops.Metadata{EncryptedSuffix: "_secret"}, "narrowed-rule"},
		{"encrypted_regex: ^(data|stringData)$", sops.Metadata{UnencryptedSuffix: "a"}, "narrowed-rule"},
		{"encrypted_regex: ^(data|stringData)$", sops.Metadata{UnencryptedSuffix: "_unencrypted"}, ""},
		{"encrypted_regex: ^(data|stringData)$", sops.Metadata{}, ""},
		{"unencrypted_regex: ^public$", sops.Metadata{UnencryptedRegex: "^(public|password)$"}, "narrowed-rule"},
		{"unencrypted_suffix: _plain", sops.Metadata{UnencryptedSuffix: "n"}, "narrowed-rule"},
		{"encrypted_comment_regex: ENC", sops.Metadata{EncryptedCommentRegex: "NEVER"}, "narrowed-rule"},
		{"unencrypted_comment_regex: PLAIN", sops.Metadata{UnencryptedCommentRegex: "."}, "narrowed-rule"},
		{"{}", sops.Metadata{EncryptedRegex: "^data$"}, ""}, // it leaves the choice to whoever seals
		{"{}", sops.Metadata{MACOnlyEncrypted: true}, ""},
		{"encrypted_regex: ^data$", sops.Metadata{EncryptedRegex: "^data$", MACOnlyEncrypted: true}, "mac-covers-less"},
		{"mac_only_encrypted: true", sops.Metadata{EncryptedRegex: "^data$", MACOnlyEncrypted: true}, "narrowed-rule"},
		{"mac_only_encrypted: true", sops.Metadata{MACOnlyEncrypted: true}, ""},
		{"mac_only_encrypted: true", sops.Metadata{}, ""},
	} {
		text := "creation_rules:\n  - " + tt.rule + "\n"
		if got := checks(Narrower(parseRule(t, text), &tt.doc)); got != tt.want {
			t.Errorf("%s against %+v: %q, want %q", tt.rule, tt.doc, got, tt.want)
		}
	}
}

func TestFewerGroupsThanTheRuleAsksForAreALowerThreshold(t *testing.T) {
	const three = "{key_groups: [{pgp: [AA]}, {pgp: [BB]}, {pgp: [CC]}]%s}"
	group := func(names ...string) (out []recipient.Group) {
		for _, n := range names {
			out = append(out, parseRule(t, "creation_rules: [{pgp: "+n+"}]").Groups[0])
		}
		return out
	}
	for _, tt := range []struct {
		threshold string
		doc       sops.Metadata
		want      string
	}{
		{"", sops.Metadata{KeyGroups: group("AA", "BB", "CC"), ShamirThreshold: 3}, ""},
		{"", sops.Metadata{KeyGroups: group("AA", "BB", "CC")}, ""},
		{"", sops.Metadata{KeyGroups: group("AA", "BB", "CC"), ShamirThreshold: 2}, "lower-threshold"},
		{", shamir_threshold: 2", sops.Metadata{KeyGroups: group("AA", "BB", "CC"), ShamirThreshold: 2}, ""},
		{", shamir_threshold: 2", sops.Metadata{KeyGroups: group("AA")}, "lower-threshold"},
		{", shamir_threshold: 2", sops.Metadata{KeyGroups: group("AA", "BB", "CC"), ShamirThreshold: 3}, ""},
	} {
		r := parseRule(t, "creation_rules: ["+fmt.Sprintf(three, tt.threshold)+"]")
		if got := checks(Narrower(r, &tt.doc)); got != tt.want {
			t.Errorf("threshold %q against %d of %d: %q, want %q", tt.threshold, tt.doc.ShamirThreshold, len(tt.doc.KeyGroups), got, tt.want)
		}
	}
}

func TestRecipientsAreThoseOfTheRule(t *testing.T) {
	for _, tt := range []struct{ rule, doc, want string }{
		{"age: " + ageOne, "age: " + ageOne, ""},
		{"age: " + ageOne, "age: '" + ageOne + "," + ageTwo + "'", "unlisted-recipient"},
		{"age: '" + ageOne + "," + ageTwo + "'", "age: " + ageTwo, "missing-recipient"},
		{"age: " + ageOne, "age: " + ageTwo, "unlisted-recipient missing-recipient"},
		{"{}", "age: " + ageTwo, ""},
		{"azure_keyvault: " + kvBare, "azure_keyvault: " + kvOne, ""},
		{"azure_keyvault: " + kvOne, "azure_keyvault: " + kvBare + "/ffff", "other-key-version"},
		{"azure_keyvault: " + kvOne, "azure_keyvault: https://two.vault.azure.net/keys/sops/1", "unlisted-recipient missing-recipient"},
		{"azure_keyvault: " + kvOne, "azure_keyvault: " + strings.Replace(kvOne, "one", "ONE", 1), ""},
		{"pgp: aabb", "pgp: AABB", ""},
		{"{kms: 'arn:aws:kms:x:1:key/a', aws_profile: mine}", "kms: 'arn:aws:kms:x:1:key/a'", ""},
		{"kms: 'arn:aws:kms:x:1:key/a'", "kms: 'arn:aws:kms:x:1:key/a+arn:aws:iam::1:role/r'", "unlisted-recipient missing-recipient"},
		// A recipient of one group in another one can make a quorum alone.
		{"key_groups: [{pgp: [AA]}, {pgp: [BB]}]", "key_groups: [{pgp: [AA]}, {pgp: [BB, AA]}]", "unlisted-recipient"},
		{"key_groups: [{pgp: [AA]}, {pgp: [BB]}]", "pgp: AA", "missing-recipient"},
	} {
		rule := parseRule(t, "creation_rules:\n  - "+tt.rule+"\n")
		doc := parseRule(t, "creation_rules:\n  - "+tt.doc+"\n")
		if got := checks(Recipients(rule, &sops.Metadata{KeyGroups: doc.Groups})); got != tt.want {
			t.Errorf("%s against %s: %q, want %q", tt.doc, tt.rule, got, tt.want)
		}
	}
}
