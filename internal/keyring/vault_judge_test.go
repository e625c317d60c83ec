//go:build judges

package keyring

import (
	"regexp"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
	"github.com/sluice-gitops/sluice/internal/testkit/realvault"
)

// bySecret is the controller's identity of a decryption Secret that holds this token.
func bySecret(t *testing.T, s *realvault.Server, token string) Identity {
	t.Helper()
	id, err := FromSecret("s", map[string][]byte{"sops.vault-token": []byte(token + "\n"), "sops.vault-address": []byte(s.Address)})
	must(t, err)
	return id
}

// openBy opens a document with nothing in memory, and looks for the token in what is said.
func openBy(t *testing.T, s *realvault.Server, token string, doc []byte) error {
	t.Helper()
	err := open(t, New(Options{}).For(bySecret(t, s, token)), doc)
	noToken(t, err, token)
	return err
}

func noToken(t *testing.T, err error, token string) {
	t.Helper()
	if f := fault.From(err); f != nil && strings.Contains(f.Multiline()+err.Error(), token) {
		t.Errorf("the fault holds the token: %s", f.Multiline())
	}
}

func sealBy(t *testing.T, s *realvault.Server, token string, k recipient.Key) []byte {
	t.Helper()
	return seal(t, Wrapper{Online: New(Options{}).Online(bySecret(t, s, token))}, recipient.Group{k})
}

func TestJudgeVaultOpensForASecretsTokenWhatUpstreamAndWeSealed(t *testing.T) {
	s := realvault.Start(t)
	named := func() *recipient.HCVault { return transitRecipient(s.Address, "transit", "sops") }
	reads := s.Token(t, "reads", "transit/decrypt/sops")
	writes := s.Token(t, "writes", "transit/encrypt/sops")
	t.Setenv("VAULT_TOKEN", s.Root)
	t.Setenv("VAULT_ADDR", "")

	ours := named()
	old := sealBy(t, s, writes, ours)
	must(t, openBy(t, s, reads, old))
	if got, err := upstreamOpens(t, ours); err != nil || len(got) != 32 {
		t.Errorf("upstream opens ours to %d bytes: %v", len(got), err)
	}
	theirs := named()
	upstreamWraps(t, theirs, []byte("data key"))
	got, err := New(Options{}).For(bySecret(t, s, reads)).DataKey(t.Context(), &sops.Metadata{KeyGroups: []recipient.Group{{theirs}}})
	if err != nil || string(got) != "data key" {
		t.Errorf("we open upstream's: %q, %v", got, err)
	}

	// The transit key is rotated: new documents have the new version, old ones open until it is withdrawn.
	s.Write(t, "transit/keys/sops/rotate", nil)
	newer := named()
	fresh := sealBy(t, s, writes, newer)
	if !strings.HasPrefix(string(newer.Wrapped()), "vault:v2:") || !strings.HasPrefix(string(ours.Wrapped()), "vault:v1:") {
		t.Errorf("sealed under %.9s before the rotation and %.9s after it", ours.Wrapped(), newer.Wrapped())
	}
	must(t, openBy(t, s, reads, old))
	must(t, openBy(t, s, reads, fresh))
	s.Write(t, "transit/keys/sops/config", map[string]any{"min_decryption_version": 2})
	wantFault(t, openBy(t, s, reads, old), "SLU-KEY-021")
	must(t, openBy(t, s, reads, fresh))
}

func TestJudgeVaultsRefusalsAreNamedWithTheirFix(t *testing.T) {
	s := realvault.Start(t)
	named := func(engine, name string) *recipient.HCVault { return transitRecipient(s.Address, engine, name) }
	s.Write(t, "transit/keys/other", nil)
	s.Write(t, "transit/keys/signs", map[string]any{"type": "ed25519"})
	key := named("transit", "sops")
	doc := sealBy(t, s, s.Root, key)
	moved := func(engine, name, enc string) []byte {
		text := strings.ReplaceAll(string(doc), "engine_path: transit", "engine_path: "+engine)
		text = strings.ReplaceAll(text, "key_name: sops", "key_name: "+name)
		text = strings.ReplaceAll(text, string(key.Wrapped()), enc)
		if text == string(doc) {
			t.Fatal("the document was not changed")
		}
		return []byte(text)
	}
	revoked := s.Token(t, "revoked", "transit/decrypt/sops")
	s.Write(t, "auth/token/revoke", map[string]any{"token": revoked})
	enc := string(key.Wrapped())
	for name, tt := range map[string]struct {
		token string
		doc   []byte
		hop   fault.Hop
		code  string
		fix   string
	}{
		"a policy that has encrypt alone":   {s.Token(t, "writes", "transit/encrypt/sops"), doc, fault.HopVault, "SLU-VAULT-020", `vault policy write -address=` + s.Address},
		"a policy of another key":           {s.Token(t, "elsewhere", "transit/decrypt/other"), doc, fault.HopVault, "SLU-VAULT-020", `"transit/decrypt/sops"`},
		"a token that the server never saw": {"hvs.CAESIOtherServer", doc, fault.HopVault, "SLU-VAULT-021", "vault token lookup -address=" + s.Address},
		"a token that was revoked":          {revoked, doc, fault.HopVault, "SLU-VAULT-021", "vault token lookup"},
		"a key that is not there":           {s.Root, moved("transit", "nosuch", enc), fault.HopKey, "SLU-KEY-020", "vault read -address=" + s.Address + " transit/keys/nosuch"},
		"an engine that is not there":       {s.Root, moved("nosuch", "sops", enc), fault.HopKey, "SLU-KEY-020", "nosuch/keys/sops"},
		"a key for signatures":              {s.Root, moved("transit", "signs", enc), fault.HopKey, "SLU-KEY-021", "transit/keys/signs"},
		"another key's data key":            {s.Root, moved("transit", "other", enc), fault.HopKey, "SLU-KEY-022", "git log"},
		"a data key cut short":              {s.Root, moved("transit", "sops", enc[:20]), fault.HopKey, "SLU-KEY-022", "git log"},
		"a data key of no version":          {s.Root, moved("transit", "sops", "vault:v7:"+enc[9:]), fault.HopKey, "SLU-KEY-022", "git log"},
	} {
		t.Run(name, func(t *testing.T) {
			f := wantFault(t, openBy(t, s, tt.token, tt.doc), tt.code)
			if f.Hop != tt.hop || !strings.Contains(f.Fix, tt.fix) {
				t.Errorf("hop %s, fix %q; want %s, %q", f.Hop, f.Fix, tt.hop, tt.fix)
			}
		})
	}

	// The fix of a refusal is one: the policy that it names, under the token that was refused.
	poor := s.Token(t, "sops-decrypt", "transit/decrypt/nothing")
	f := wantFault(t, openBy(t, s, poor, doc), "SLU-VAULT-020")
	m := regexp.MustCompile(` sops-decrypt - <<< '(.*)'$`).FindStringSubmatch(f.Fix)
	if m == nil {
		t.Fatalf("no policy in %q", f.Fix)
	}
	s.Write(t, "sys/policies/acl/sops-decrypt", map[string]any{"policy": m[1]})
	must(t, openBy(t, s, poor, doc))
	_, _, err := Wrapper{Online: New(Options{}).Online(bySecret(t, s, poor))}.Wrap(t.Context(), named("transit", "sops"), []byte(canary))
	noToken(t, err, poor)
	noCanary(t, err)
	if f := wantFault(t, err, "SLU-VAULT-020"); !strings.Contains(f.Fix, `sops-encrypt - <<< 'path "transit/encrypt/sops"`) {
		t.Errorf("fix of a seal: %q", f.Fix)
	}

	s.Write(t, "sys/seal", nil)
	if f := wantFault(t, openBy(t, s, s.Root, doc), "SLU-VAULT-023"); !strings.Contains(f.Seen, "503 (vault is sealed)") || f.Fix != "vault operator unseal -address="+s.Address {
		t.Errorf("of a sealed server: %s", f.Multiline())
	}
	s.Write(t, "sys/unseal", map[string]any{"key": s.UnsealKey})
	must(t, openBy(t, s, s.Root, doc))
	s.Stop(t)
	if f := wantFault(t, openBy(t, s, s.Root, doc), "SLU-VAULT-024"); f.Why != "the connection was refused" {
		t.Errorf("of a server that is gone: %s", f.Multiline())
	}
}
