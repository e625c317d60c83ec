package keyring

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/ProtonMail/go-crypto/openpgp"
	pgparmor "github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/getsops/sops/v3/pgp"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

var _ = flag.Bool("update", false, "rewrite golden files")

// canary stands for key material and must be in no error.
const canary = "CANARY-4711"

func ageKey(t testing.TB) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func ageRecipientKey(t testing.TB, id *age.X25519Identity) recipient.Key {
	t.Helper()
	k, err := recipient.ParseAge(id.Recipient().String())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func pgpKey(t testing.TB) *openpgp.Entity {
	t.Helper()
	e, err := openpgp.NewEntity("sluice", "test", "sluice@example.test", nil)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func armored(t testing.TB, e *openpgp.Entity) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := pgparmor.Encode(&buf, openpgp.PrivateKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(e.SerializePrivate(w, nil), w.Close()); err != nil {
		t.Fatal(err)
	}
	return append(buf.Bytes(), '\n')
}

const plain = "apiVersion: v1\nkind: Secret\nstringData:\n    password: CANARY-4711\n"

func seal(t testing.TB, w Wrapper, groups ...recipient.Group) []byte {
	t.Helper()
	out, err := sops.Seal(context.Background(), []byte(plain), sops.YAML, sops.SealOptions{
		EncryptedRegex: "^(data|stringData)$", Recipients: groups, Wrap: w.Wrap,
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func open(t testing.TB, k sops.Keyring, doc []byte) error {
	t.Helper()
	got, err := sops.Open(context.Background(), k, "apps/secret.yaml", doc, sops.YAML, sops.Enforce)
	if err == nil && string(got) != plain {
		t.Fatalf("opened to\n%s", got)
	}
	noCanary(t, err)
	return err
}

var identityText = regexp.MustCompile(`AGE-SECRET-KEY-1[0-9A-Z]{8}`)

func noCanary(t testing.TB, err error) {
	t.Helper()
	for e := err; e != nil; e = errors.Unwrap(e) {
		text := e.Error()
		if f, ok := e.(*fault.Fault); ok {
			text += f.Multiline()
		}
		if strings.Contains(strings.ToUpper(text), canary) || identityText.MatchString(text) || strings.Contains(text, "PRIVATE KEY") {
			t.Errorf("the error holds a secret: %s", text)
		}
	}
}

func wantFault(t *testing.T, err error, code string) *fault.Fault {
	t.Helper()
	f := fault.From(err)
	if f == nil || f.Code != code || f.Seen == "" || f.Why == "" || f.Fix == "" {
		t.Fatalf("got %v (%+v), want %s", err, f, code)
	}
	return f
}

func TestAgeAndPGPKeysOfASecretOpen(t *testing.T) {
	a, p := ageKey(t), pgpKey(t)
	other := ageKey(t)
	id, err := FromSecret("ns/ks", map[string][]byte{
		"keys.agekey": []byte("# created: today\n# public key: age1x\n" + other.String() + "\n\n" + a.String() + "\n"),
		"one.asc":     append(armored(t, pgpKey(t)), armored(t, p)...),
		"README":      []byte("left alone"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(id.Age) != 2 || len(id.PGP) != 2 {
		t.Fatalf("%d age, %d PGP identities; want 2 and 2", len(id.Age), len(id.PGP))
	}
	ring := New(Options{}).For(id)
	if err := open(t, ring, seal(t, Wrapper{}, recipient.Group{ageRecipientKey(t, a)})); err != nil {
		t.Error("age:", err)
	}
	fp := hexUpper(p.PrimaryKey.Fingerprint)
	for _, name := range []string{fp, fp[len(fp)-16:], hexUpper(p.Subkeys[0].PublicKey.Fingerprint)} {
		if err := open(t, ring, seal(t, Wrapper{PGP: openpgp.EntityList{p}}, recipient.Group{recipient.NewPGP(name)})); err != nil {
			t.Error("PGP", name, err)
		}
	}
}

func TestPGPInteroperatesWithUpstream(t *testing.T) {
	p := pgpKey(t)
	dir := t.TempDir()
	var pub, sec bytes.Buffer
	if err := errors.Join(p.SerializePrivate(&sec, nil), p.Serialize(&pub)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(dir+"/pub", pub.Bytes(), 0o600), os.WriteFile(dir+"/sec", sec.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	k := recipient.NewPGP(hexUpper(p.PrimaryKey.Fingerprint))
	up := toUpstream(t, k).(*pgp.MasterKey)
	pgp.PubRing(dir + "/pub").ApplyToMasterKey(up)
	pgp.SecRing(dir + "/sec").ApplyToMasterKey(up)
	enc, handled, err := Wrapper{PGP: openpgp.EntityList{p}}.Wrap(t.Context(), k, []byte("data key"))
	if err != nil || !handled {
		t.Fatal(handled, err)
	}
	up.SetEncryptedDataKey(enc)
	if got, err := up.Decrypt(); err != nil || string(got) != "data key" {
		t.Errorf("upstream: %q, %v", got, err)
	}
	if err := up.Encrypt([]byte("data key")); err != nil {
		t.Fatal(err)
	}
	k.SetWrapped(up.EncryptedDataKey())
	s := &session{id: Identity{PGP: openpgp.EntityList{p}}}
	if got, err := s.unwrapPGP(t.Context(), k); err != nil || string(got) != "data key" {
		t.Errorf("ours: %q, %v", got, err)
	}
}

func TestShamirGroupsAreJoined(t *testing.T) {
	a, b, c := ageKey(t), ageKey(t), ageKey(t)
	groups := []recipient.Group{{ageRecipientKey(t, a)}, {ageRecipientKey(t, b)}, {ageRecipientKey(t, c)}}
	doc, err := sops.Seal(t.Context(), []byte(plain), sops.YAML, sops.SealOptions{Recipients: groups, ShamirThreshold: 2})
	if err != nil {
		t.Fatal(err)
	}
	r := New(Options{})
	if err := open(t, r.For(Identity{Name: "two", Age: []age.Identity{a, c}}), doc); err != nil {
		t.Error(err)
	}
	f := wantFault(t, open(t, r.For(Identity{Name: "one", Age: []age.Identity{b}}), doc), "SLU-KEYRING-001")
	if !strings.HasPrefix(f.Seen, "1 of the 2 key groups") || f.File != "apps/secret.yaml" {
		t.Errorf("fault %+v", f)
	}
}

func TestTheFaultSaysWhatTheFileNeedsAndWhatTheIdentityHas(t *testing.T) {
	a, p := ageKey(t), pgpKey(t)
	noAzure := &fault.Fault{Code: "SLU-IDENTITY-001", Hop: fault.HopIdentity, Seen: "no identity", Why: "w", Fix: "f"}
	azure := &recipient.AzureKV{VaultURL: "https://v1.vault.azure.net", Name: "sops", Version: "v", EncryptedKey: "AA"}
	pgpRecipient := recipient.NewPGP(hexUpper(p.PrimaryKey.Fingerprint))
	pgpRecipient.EncryptedKey = canary
	stale := ageRecipientKey(t, a)
	stale.SetWrapped([]byte(canary))
	foreign := &recipient.Age{Recipient: "age1foreign", EncryptedKey: canary}
	for _, tt := range []struct {
		name  string
		id    Identity
		group recipient.Group
		code  string
		hop   fault.Hop
	}{
		{"nothing at hand", Identity{}, recipient.Group{foreign}, "SLU-KEYRING-001", fault.HopKeyring},
		{"another age key", Identity{Age: []age.Identity{a}}, recipient.Group{foreign}, "SLU-KEYRING-001", fault.HopKeyring},
		{"PGP only", Identity{Age: []age.Identity{a}}, recipient.Group{pgpRecipient}, "SLU-KEYRING-001", fault.HopKeyring},
		{"Google only", Identity{Age: []age.Identity{a}}, recipient.Group{&recipient.GCPKMS{ResourceID: "projects/p"}}, "SLU-KEYRING-001", fault.HopKeyring},
		{"Azure, but no identity", Identity{AzureErr: noAzure}, recipient.Group{azure, foreign}, "SLU-IDENTITY-001", fault.HopIdentity},
		{"Azure, nobody said why", Identity{}, recipient.Group{azure}, "SLU-KEYRING-001", fault.HopKeyring},
		{"changed enc, age", Identity{Age: []age.Identity{a}}, recipient.Group{stale}, "SLU-KEYRING-003", fault.HopKeyring},
		{"changed enc, PGP", Identity{PGP: openpgp.EntityList{p}}, recipient.Group{pgpRecipient}, "SLU-KEYRING-003", fault.HopKeyring},
		{"two that should open", Identity{Age: []age.Identity{a}, PGP: openpgp.EntityList{p}}, recipient.Group{stale, pgpRecipient}, "SLU-KEYRING-002", fault.HopKeyring},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.id.Name = "ns/ks"
			_, err := New(Options{}).For(tt.id).DataKey(t.Context(), &sops.Metadata{KeyGroups: []recipient.Group{tt.group}})
			noCanary(t, err)
			if f := wantFault(t, err, tt.code); f.Hop != tt.hop {
				t.Errorf("hop %s", f.Hop)
			}
		})
	}
	none := &sops.Metadata{KeyGroups: []recipient.Group{{foreign, recipient.NewPGP("ABCD0123"), azure}}}
	_, err := New(Options{}).For(Identity{Name: "ns/ks"}).DataKey(t.Context(), none)
	testkit.Golden(t, "testdata/nonefits.golden", []byte(fault.From(err).Multiline()+"\n"))
}

func TestDataKeysAreServedFromMemoryPerIdentity(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	a := ageKey(t)
	r := New(Options{TTL: time.Hour, MaxKeys: 3, Clock: func() time.Time { return now }})
	doc := seal(t, Wrapper{}, recipient.Group{ageRecipientKey(t, a)})
	with, without := Identity{Name: "a", Age: []age.Identity{a}}, Identity{Name: "a"}

	if err := open(t, r.For(with), doc); err != nil {
		t.Fatal(err)
	}
	// The same partition without the key: what opens now opens from memory.
	if err := open(t, r.For(without), doc); err != nil {
		t.Errorf("not kept: %v", err)
	}
	wantFault(t, open(t, r.For(Identity{Name: "b"}), doc), "SLU-KEYRING-001") // another identity never rides along
	now = now.Add(time.Hour)
	wantFault(t, open(t, r.For(without), doc), "SLU-KEYRING-001") // the TTL is over

	if err := open(t, r.For(with), doc); err != nil {
		t.Fatal(err)
	}
	r.Forget("a")
	wantFault(t, open(t, r.For(without), doc), "SLU-KEYRING-001")

	for range 5 {
		if err := open(t, r.For(with), seal(t, Wrapper{}, recipient.Group{ageRecipientKey(t, a)})); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.cache.order.Len(); n != 3 {
		t.Errorf("%d keys in memory, want 3", n)
	}
	if len(r.cache.entries) != 3 {
		t.Errorf("%d entries, want 3", len(r.cache.entries))
	}
}

func TestAChangedSecretLosesItsMemoryAndAnEqualOneKeepsIt(t *testing.T) {
	a := ageKey(t)
	read := func(s string) Identity {
		t.Helper()
		id, err := FromSecret("ns/ks", map[string][]byte{"a.agekey": []byte(s)})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	r := New(Options{})
	doc := seal(t, Wrapper{}, recipient.Group{ageRecipientKey(t, a)})
	if err := open(t, r.For(read(a.String())), doc); err != nil {
		t.Fatal(err)
	}
	before := r.parts.byName["ns/ks"]
	if err := open(t, r.For(read(a.String())), doc); err != nil || r.parts.byName["ns/ks"] != before {
		t.Errorf("an equal Secret lost its memory: %v", err)
	}
	wantFault(t, open(t, r.For(read(ageKey(t).String())), doc), "SLU-KEYRING-001")
	if r.cache.order.Len() != 0 {
		t.Error("the old Secret's data keys are still in memory")
	}
}

func TestSecretEntriesThatCannotBeUsedAreNamed(t *testing.T) {
	e := pgpKey(t)
	var public bytes.Buffer
	w, _ := pgparmor.Encode(&public, openpgp.PublicKeyType, nil)
	if err := errors.Join(e.Serialize(w), w.Close()); err != nil {
		t.Fatal(err)
	}
	locked := pgpKey(t)
	if err := locked.EncryptPrivateKeys([]byte("pass"), nil); err != nil {
		t.Fatal(err)
	}
	lockedBuf := bytes.Buffer{}
	w, _ = pgparmor.Encode(&lockedBuf, openpgp.PrivateKeyType, nil)
	if err := errors.Join(locked.SerializePrivateWithoutSigning(w, nil), w.Close()); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, tt := range []struct {
		entry, value, code string
	}{
		{"a.agekey", "AGE-SECRET-KEY-" + canary, "SLU-KEYRING-011"},
		{"a.agekey", "# only\n" + canary, "SLU-KEYRING-011"},
		{"a.agekey", "", "SLU-KEYRING-011"},
		{"a.agekey", "-----BEGIN OPENSSH PRIVATE KEY-----\n" + canary, "SLU-KEYRING-011"},
		{"a.asc", canary, "SLU-KEYRING-011"},
		{"a.asc", "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n" + canary + "\n", "SLU-KEYRING-011"},
		{"a.asc", public.String(), "SLU-KEYRING-011"},
		{"a.asc", lockedBuf.String(), "SLU-KEYRING-011"},
		{"sops.azure-kv", "{" + canary, "SLU-KEYRING-011"},
		{"sops.azure-kv", "tenantId: t\nclientSecret: " + canary, "SLU-KEYRING-011"},
		{"sops.azure-kv", "tenantId: 'a b'\nclientId: c\nclientSecret: " + canary, "SLU-KEYRING-011"},
		{"sops.azure-kv", "tenantId: t\nclientId: c\nclientCertificate: " + canary, "SLU-KEYRING-011"},
		{"sops.aws-kms", "aws_access_key_id: " + canary, "SLU-KEYRING-011"},
		{"sops.aws-kms", "{" + canary, "SLU-KEYRING-011"},
		{"sops.gcp-kms", canary, "SLU-KEYRING-011"},
		{"sops.gcp-kms", `{"type":"external_account","credential_source":{"file":"CANARY-4711"}}`, "SLU-KEYRING-011"},
		{"sops.gcp-kms", `{"type":"service_account","token_uri":"https://evil.test/googleapis.com/"}`, "SLU-KEYRING-011"},
		{"sops.gcp-kms", `{"type":"service_account","private_key":"CANARY-4711"}`, "SLU-KEYRING-011"},
		{"sops.vault-token", canary + "\n" + canary, "SLU-KEYRING-011"},
		{"identity.txt", canary, "SLU-KEYRING-010"},
	} {
		_, err := FromSecret("ns/ks", map[string][]byte{tt.entry: []byte(tt.value)})
		noCanary(t, err)
		f := wantFault(t, err, tt.code)
		if !strings.Contains(f.Seen, tt.entry) || f.Hop != fault.HopKeyring {
			t.Errorf("%s: %s", tt.entry, f.Seen)
		}
		out.WriteString(fingerprintless(f.Multiline()) + "\n\n")
	}
	if _, err := FromSecret("ns/ks", nil); fault.From(err) == nil {
		t.Errorf("empty Secret: %v", err)
	}
	testkit.Golden(t, "testdata/secret.golden", []byte(out.String()))
}

// fingerprintless cuts the random fingerprint out of a message.
func fingerprintless(s string) string {
	if i := strings.Index(s, "PGP key "); i >= 0 && len(s) > i+48 {
		return s[:i+8] + "<fingerprint>" + s[i+48:]
	}
	return s
}

func TestAzureEntriesTakeBothNamings(t *testing.T) {
	for _, doc := range []string{
		`{"tenantId":"t","clientId":"c","clientSecret":"s"}`,
		"tenantId: t\nclientId: c\nclientSecret: s\nauthorityHost: https://login.microsoftonline.us/\n",
		`{"appId":"c","tenant":"t","password":"s","displayName":"x"}`,
	} {
		if id, err := FromSecret("x", map[string][]byte{"sops.azure-kv": []byte(doc)}); err != nil || id.Azure == nil {
			t.Errorf("%s: %v", doc, err)
		}
	}
}

// hanging is a vault that never answers until it is let go.
type hanging struct {
	started chan struct{}
	release chan struct{}
	once    sync.Once
	calls   int
}

func (h *hanging) Do(r *http.Request) (*http.Response, error) {
	h.calls++
	h.once.Do(func() { close(h.started) })
	select {
	case <-h.release:
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: 404, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}")), Request: r}, nil
}

func TestACallerLeavesWithItsContextAndTheOthersStayServed(t *testing.T) {
	h := &hanging{started: make(chan struct{}), release: make(chan struct{})}
	r := New(Options{Transport: h})
	id := Identity{Name: "a", Azure: staticToken{}}
	doc := &sops.Metadata{KeyGroups: []recipient.Group{{&recipient.AzureKV{VaultURL: "https://v1.vault.azure.net", Name: "k", Version: "v", EncryptedKey: "AA"}}}}
	ctx, cancel := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	ask := func(ctx context.Context, out chan error) {
		_, err := r.For(id).DataKey(ctx, doc)
		out <- err
	}
	go ask(ctx, first)
	<-h.started
	go ask(t.Context(), second)
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("first: %v", err)
	}
	close(h.release)
	wantFault(t, <-second, "SLU-KEY-001")
}

func FuzzFromSecret(f *testing.F) {
	f.Add("a.agekey", []byte("# x\nAGE-SECRET-KEY-1"))
	f.Add("a.asc", []byte("-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n-----END PGP PRIVATE KEY BLOCK-----"))
	f.Add("a.asc", armored(f, pgpKey(f)))
	f.Add("sops.azure-kv", []byte("tenantId: x"))
	f.Fuzz(func(t *testing.T, entry string, value []byte) {
		if _, err := FromSecret("x", map[string][]byte{entry: value}); err != nil && fault.From(err) == nil {
			t.Errorf("not a fault: %v", err)
		}
	})
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "keyring-home-")
	if err != nil {
		panic(err)
	}
	os.Setenv("HOME", dir) // the library looks for keys there
	os.Setenv("XDG_CONFIG_HOME", dir)
	code := m.Run()
	fmt.Fprint(io.Discard, os.RemoveAll(dir))
	os.Exit(code)
}
