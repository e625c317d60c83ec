package sops

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	upstream "github.com/getsops/sops/v3"
	upage "github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/azkv"
	"github.com/getsops/sops/v3/gcpkms"
	"github.com/getsops/sops/v3/hckms"
	"github.com/getsops/sops/v3/hcvault"
	"github.com/getsops/sops/v3/keys"
	upkms "github.com/getsops/sops/v3/kms"
	"github.com/getsops/sops/v3/pgp"

	"github.com/sluice-gitops/sluice/internal/sops/recipient"
	"github.com/sluice-gitops/sluice/internal/sops/store"
	"github.com/sluice-gitops/sluice/internal/sops/tree"
)

// keyOf gives a recipient of the library as ours.
func keyOf(k keys.MasterKey) recipient.Key {
	switch k := k.(type) {
	case *upage.MasterKey:
		return &recipient.Age{Recipient: k.Recipient, EncryptedKey: k.EncryptedKey}
	case *pgp.MasterKey:
		return &recipient.PGP{Fingerprint: k.Fingerprint, CreationDate: k.CreationDate, EncryptedKey: k.EncryptedKey}
	case *azkv.MasterKey:
		return &recipient.AzureKV{VaultURL: k.VaultURL, Name: k.Name, Version: k.Version, CreationDate: k.CreationDate, EncryptedKey: k.EncryptedKey}
	case *upkms.MasterKey:
		return &recipient.KMS{Arn: k.Arn, Role: k.Role, AwsProfile: k.AwsProfile, EncryptionContext: k.EncryptionContext, CreationDate: k.CreationDate, EncryptedKey: k.EncryptedKey}
	case *gcpkms.MasterKey:
		return &recipient.GCPKMS{ResourceID: k.ResourceID, CreationDate: k.CreationDate, EncryptedKey: k.EncryptedKey}
	case *hcvault.MasterKey:
		return &recipient.HCVault{VaultAddress: k.VaultAddress, EnginePath: k.EnginePath, KeyName: k.KeyName, CreationDate: k.CreationDate, EncryptedKey: k.EncryptedKey}
	case *hckms.MasterKey:
		return &recipient.HuaweiKMS{KeyID: k.KeyID, CreationDate: k.CreationDate, EncryptedKey: k.EncryptedKey}
	}
	panic(fmt.Sprintf("%T", k))
}

func metadataOf(m upstream.Metadata) *Metadata {
	out := &Metadata{
		LastModified: m.LastModified, UnencryptedSuffix: m.UnencryptedSuffix, EncryptedSuffix: m.EncryptedSuffix, UnencryptedRegex: m.UnencryptedRegex,
		EncryptedRegex: m.EncryptedRegex, UnencryptedCommentRegex: m.UnencryptedCommentRegex, EncryptedCommentRegex: m.EncryptedCommentRegex,
		MessageAuthenticationCode: m.MessageAuthenticationCode, MACOnlyEncrypted: m.MACOnlyEncrypted, Version: m.Version, ShamirThreshold: m.ShamirThreshold,
	}
	for _, g := range m.KeyGroups {
		var group recipient.Group
		for _, k := range g {
			group = append(group, keyOf(k))
		}
		out.KeyGroups = append(out.KeyGroups, group)
	}
	return out
}

// randomKey makes a recipient of any kind.
func randomKey(r *rand.Rand) keys.MasterKey {
	word := func() string {
		return []string{"x", "", "two\nlines\n", "1", "true", "2020-01-01T00:00:00Z", "a: b"}[r.IntN(7)]
	}
	at := time.Unix(r.Int64N(4e9), 0).UTC()
	switch r.IntN(7) {
	case 0:
		return &upage.MasterKey{Recipient: word(), EncryptedKey: word()}
	case 1:
		return &pgp.MasterKey{Fingerprint: word(), CreationDate: at, EncryptedKey: word()}
	case 2:
		return &azkv.MasterKey{VaultURL: word(), Name: word(), Version: word(), CreationDate: at, EncryptedKey: word()}
	case 3:
		k := &upkms.MasterKey{Arn: word(), Role: word(), AwsProfile: word(), CreationDate: at, EncryptedKey: word()}
		if r.IntN(2) == 0 {
			value := word()
			k.EncryptionContext = map[string]*string{"name": &value, "b": &value}
		}
		return k
	case 4:
		return &gcpkms.MasterKey{ResourceID: word(), CreationDate: at, EncryptedKey: word()}
	case 5:
		return &hcvault.MasterKey{VaultAddress: word(), EnginePath: word(), KeyName: word(), CreationDate: at, EncryptedKey: word()}
	}
	return &hckms.MasterKey{KeyID: "region:id" + word(), CreationDate: at, EncryptedKey: word()}
}

func randomMetadata(r *rand.Rand) upstream.Metadata {
	m := upstream.Metadata{LastModified: time.Unix(r.Int64N(4e9), 0).UTC(), MessageAuthenticationCode: "ENC[x]", Version: "3.13.2", MACOnlyEncrypted: r.IntN(2) == 0, ShamirThreshold: r.IntN(4)}
	*[]*string{&m.UnencryptedSuffix, &m.EncryptedSuffix, &m.UnencryptedRegex, &m.EncryptedRegex, &m.UnencryptedCommentRegex, &m.EncryptedCommentRegex}[r.IntN(6)] = "rule"
	for range 1 + r.IntN(3) {
		var g upstream.KeyGroup
		for range 1 + r.IntN(4) {
			g = append(g, randomKey(r))
		}
		m.KeyGroups = append(m.KeyGroups, g)
	}
	return m
}

func TestMetadataOfEveryKeyServiceIsWrittenAndReadAsUpstreamDoes(t *testing.T) {
	for seed := range uint64(600) {
		r := rand.New(rand.NewPCG(seed, 5))
		m := randomMetadata(r)
		for f, branch := range map[Format]tree.Branch{
			YAML: {{Key: "a", Value: "b"}}, JSON: {{Key: "a", Value: "b"}}, Dotenv: {{Key: "a", Value: "b"}}, INI: {{Key: "s", Value: tree.Branch{{Key: "a", Value: "b"}}}},
		} {
			want, err := upstreamStore(f, Indents{}).EmitEncryptedFile(upstream.Tree{Metadata: m, Branches: allToUpstream([]tree.Branch{branch})})
			if err != nil {
				t.Fatal(err)
			}
			got, err := store.WriteSealed(f.Store(), []tree.Branch{branch}, metadataOf(m))
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("seed %d, %s: written as\n%s%v\nupstream writes\n%s", seed, f, got, err, want)
			}
			readSealedBoth(t, f, want)
		}
	}
}

// readSealedBoth reads a sealed file both ways: the same metadata and the same rest, or both refuse.
func readSealedBoth(t *testing.T, f Format, data []byte) {
	t.Helper()
	branches, got, gotErr := store.ReadSealed(f.Store(), data)
	theirs, wantErr := loadUpstream(f, data)
	if (gotErr == nil) != (wantErr == nil) {
		if gotErr != nil && cutShort(f, data) || wantErr != nil && unusedGroups(data) {
			return // listed in docs/decisions/0004-own-document-model.md
		}
		t.Fatalf("%s: %q is read with %v; upstream says %v", f, data, gotErr, wantErr)
	}
	if gotErr != nil {
		noCanary(t, gotErr)
		return
	}
	if want := metadataOf(theirs.Metadata); !reflect.DeepEqual(normal(got), normal(want)) || !sameTrees(branches, allFromUpstream(theirs.Branches)) {
		t.Fatalf("%s: %q is read as\n%+v\n%#v\nupstream reads\n%+v\n%#v", f, data, got, branches, want, theirs.Branches)
	}
}

// unusedGroups says whether a document has key_groups: beside recipients of its own sops reads them, and uses none.
func unusedGroups(data []byte) bool { return bytes.Contains(bytes.ToLower(data), []byte("key_groups")) }

// normal writes times in one way and forgets empty contexts.
func normal(m *Metadata) string {
	var b strings.Builder
	for _, g := range m.KeyGroups {
		b.WriteString("group ")
		for _, k := range g {
			created := reflect.ValueOf(k).Elem().FieldByName("CreationDate")
			if created.IsValid() {
				b.WriteString(created.Interface().(time.Time).UTC().String())
			}
			fmt.Fprintf(&b, "%s %q %q ", k.Kind(), k.String(), k.Wrapped())
		}
	}
	c := *m
	c.KeyGroups = nil
	c.LastModified = c.LastModified.UTC()
	return fmt.Sprintf("%+v %s", c, &b)
}

func loadUpstream(f Format, data []byte) (t upstream.Tree, err error) {
	defer func() {
		if recover() != nil {
			err = errPanicked
		}
	}()
	return upstreamStore(f, Indents{}).LoadEncryptedFile(data)
}

const metaTail = "    lastmodified: \"2020-01-01T00:00:00Z\"\n    mac: ENC[x]\n    version: 3.0.0\n"

// oddMetadata is sops's entry as people and tools write it.
var oddMetadata = []string{
	"    age: []\n" + metaTail, "    age:\n        - recipient: a\n          enc: b\n" + metaTail, "    age:\n        recipient: a\n        enc: b\n" + metaTail,
	"    AGE:\n        - Recipient: a\n          ENC: b\n" + metaTail, "    age:\n        - 1\n" + metaTail, "    age: text\n" + metaTail, "    age:\n        - null\n" + metaTail, "    age: {}\n" + metaTail,
	"    age:\n        - recipient: 12\n          enc: true\n    shamir_threshold: \"0x2\"\n" + metaTail, "    age:\n        - recipient: [a]\n" + metaTail,
	"    age:\n        - recipient: a\n    mac_only_encrypted: \"true\"\n    shamir_threshold: 2.9\n" + metaTail, "    age:\n        - recipient: a\n    mac_only_encrypted: maybe\n" + metaTail,
	"    age:\n        - recipient: a\n    shamir_threshold: x\n" + metaTail, "    age:\n        - recipient: a\n    mac_only_encrypted: 1\n    shamir_threshold: true\n" + metaTail,
	"    age:\n        - recipient: a\n    lastmodified: 2020-01-01T00:00:00Z\n    mac: x\n", "    age:\n        - recipient: a\n    mac: x\n", "    age:\n        - recipient: a\n    unknown: {1: 2}\n" + metaTail,
	"    age:\n        - recipient: a\n    encrypted_regex: a\n    encrypted_suffix: b\n" + metaTail, "    pgp:\n        - fp: a\n" + metaTail, "    hckms:\n        - key_id: noregion\n          created_at: \"2020-01-01T00:00:00Z\"\n" + metaTail,
	"    kms:\n        - arn: a\n          created_at: \"2020-01-01T00:00:00Z\"\n          context: {a: b, c: null, d: 1}\n" + metaTail, "    kms:\n        - arn: a\n          created_at: \"2020-01-01T00:00:00Z\"\n          context: [{a: b}, {c: d}]\n" + metaTail,
	"    kms:\n        - arn: a\n          created_at: \"2020-01-01T00:00:00Z\"\n          context: text\n" + metaTail, "    key_groups:\n        - age:\n            - recipient: a\n        - pgp: []\n" + metaTail,
	"    key_groups:\n        - age: [] # none\n" + metaTail, "    key_groups: []\n" + metaTail, "    age:\n        # who\n        - recipient: a # this one\n" + metaTail,
	"    age:\n        - recipient: a\n    encrypted_regex: 12\n    version: 3.1\n    lastmodified: \"2020-01-01T01:00:00+01:00\"\n    mac: ~\n",
}

func TestOddMetadataIsReadAsUpstreamReadsIt(t *testing.T) {
	for _, text := range oddMetadata {
		readSealedBoth(t, YAML, []byte("a: b\nsops:\n"+text))
	}
	for _, text := range []string{
		`{"a":1,"sops":{"age":[{"recipient":"a"}],"lastmodified":"2020-01-01T00:00:00Z","mac":"x","mac":"y"}}`, `{"sops":{}}`, `{"sops":null}`, `{"sops":{"age":[]},"sops":{}}`, `{"sops":{"mac":`,
	} {
		readSealedBoth(t, JSON, []byte(text))
	}
	flat := "age__list_0__map_recipient=a\n"
	for _, lines := range []string{
		flat, flat + "age__list_0__map_enc=b\\nc\n", "age__list_1__map_recipient=a\n", flat + "age=x\n", flat + flat, "age__list_x__map_recipient=a\n", "age__map_recipient=a\n", flat + "shamir_threshold=2\nmac_only_encrypted=true\n", "__list_0=a\n",
		"key_groups__list_0__map_age__list_0__map_recipient=a\nkey_groups__list_1__map_age__list_0__map_recipient=b\n",
	} {
		all := lines + "lastmodified=2020-01-01T00:00:00Z\nmac=x\n"
		readSealedBoth(t, Dotenv, []byte("A=b\nsops_"+strings.ReplaceAll(strings.TrimSuffix(all, "\n"), "\n", "\nsops_")+"\n"))
		readSealedBoth(t, INI, []byte("[s]\na=b\n[sops]\n"+all))
	}
}

func FuzzSealedFilesAreReadAsUpstreamReadsThem(f *testing.F) {
	for _, text := range oddMetadata {
		f.Add(string(YAML), []byte("a: b\nsops:\n"+text))
	}
	f.Add(string(Dotenv), []byte("A=b\nsops_age__list_0__map_recipient=a\nsops_lastmodified=2020-01-01T00:00:00Z\nsops_mac=x\n"))
	f.Add(string(INI), []byte("[s]\na=b\n[sops]\nage__list_0__map_recipient=a\nlastmodified=2020-01-01T00:00:00Z\nmac=x\n"))
	f.Add(string(JSON), []byte(`{"a":1,"sops":{"age":[{"recipient":"a"}],"lastmodified":"2020-01-01T00:00:00Z","mac":"x"}}`))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		format, err := ParseFormat(name)
		if err != nil || len(data) > 10000 || checkShape(format, data) != nil {
			return
		}
		if format == YAML && bytes.Contains(data, []byte("---")) {
			return // the documents of a stream are grouped before their metadata is read
		}
		readSealedBoth(t, format, data)
	})
}
