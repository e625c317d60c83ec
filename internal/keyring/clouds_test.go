package keyring

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"

	"golang.org/x/oauth2"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/kms/aws"
	"github.com/sluice-gitops/sluice/internal/kms/gcp"
	"github.com/sluice-gitops/sluice/internal/kms/transit"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

const (
	awsARN    = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	googleKMS = "projects/p/locations/global/keyRings/r/cryptoKeys/sops"
)

// recipients are one key of each service, as a document names them.
func (s *services) recipients() map[string]func() recipient.Key {
	return map[string]func() recipient.Key{
		"aws":    func() recipient.Key { return recipient.NewKMS(awsARN, "", nil, "") },
		"google": func() recipient.Key { return recipient.NewGCPKMS(googleKMS) },
		"vault":  func() recipient.Key { return transitRecipient(s.URL, "secrets/transit", "sops") },
	}
}

func transitRecipient(address, engine, name string) *recipient.HCVault {
	return &recipient.HCVault{VaultAddress: address, EnginePath: engine, KeyName: name}
}

// identity gives one with a credential of the same name for each service.
func (s *services) identity(t *testing.T, name, token string) Identity {
	t.Helper()
	list, err := transit.ParseAllowlist("test", s.URL)
	must(t, err)
	return Identity{Name: name, Clouds: Clouds{
		AWS:    aws.Static(token, "secret", ""),
		Google: oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token}),
		Vault:  &VaultToken{token: transit.Static(token), allow: []transit.Allowlist{list}, env: func(string) string { return "" }},
	}}
}

func (s *services) ring(o Options) *Ring {
	o.Services = Services{AWSEndpoint: s.URL, GoogleEndpoint: s.URL}
	return New(o)
}

func TestEachKeyServiceOpensWhatItsIdentityMayAndNamesWhatItMayNot(t *testing.T) {
	s := newServices(t)
	s.allow("mine", "*")
	s.allow("poor", "")
	r := s.ring(Options{})
	mine := s.identity(t, "mine", "mine")
	for name, makeKey := range s.recipients() {
		t.Run(name, func(t *testing.T) {
			doc := seal(t, Wrapper{Online: r.Online(mine)}, recipient.Group{makeKey()})
			if err := open(t, r.For(mine), doc); err != nil {
				t.Fatal(err)
			}
			f := wantFault(t, open(t, r.For(s.identity(t, "poor", "poor")), doc), "SLU-VAULT-020")
			if f.Hop != fault.HopVault || f.File == "" {
				t.Errorf("fault %+v", f)
			}
			wantFault(t, open(t, r.For(s.identity(t, "nobody", "nobody")), doc), "SLU-VAULT-021")
			wantFault(t, open(t, r.For(Identity{Name: "none"}), doc), "SLU-KEYRING-001")
		})
	}
}

func TestUpstreamAndWeOpenEachOthersDocumentsOfEveryKeyService(t *testing.T) {
	s := newServices(t)
	s.allow("mine", "*")
	for k, v := range map[string]string{
		"AWS_ENDPOINT_URL": s.URL, "AWS_ACCESS_KEY_ID": "mine", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
		"SOPS_GCP_KMS_CLIENT_TYPE": "rest", "SOPS_GCP_KMS_ENDPOINT": s.URL, "GOOGLE_OAUTH_ACCESS_TOKEN": "mine", "GOOGLE_CREDENTIALS": "",
		"VAULT_TOKEN": "mine",
	} {
		t.Setenv(k, v)
	}
	// A person's machine finds the same environment as upstream.
	person, err := Workstation(t.Context(), WorkstationOptions{Home: t.TempDir()})
	must(t, err)
	r := New(Options{})
	all := s.recipients()
	value := "b"
	all["aws with a context"] = func() recipient.Key {
		return recipient.NewKMS(awsARN, "", map[string]*string{"a": &value}, "")
	}
	all["aws with a role"] = func() recipient.Key { return recipient.NewKMS(awsARN, "arn:aws:iam::123456789012:role/sops", nil, "") }
	s.allow("ASIAsops", awsARN)
	for name, makeKey := range all {
		t.Run(name, func(t *testing.T) {
			ours := makeKey()
			enc, handled, err := Wrapper{Online: r.Online(person)}.Wrap(t.Context(), ours, []byte("data key"))
			if err != nil || !handled {
				t.Fatal(handled, err)
			}
			ours.SetWrapped(enc)
			if got, err := upstreamOpens(t, ours); err != nil || string(got) != "data key" {
				t.Errorf("upstream opens ours: %q, %v", got, err)
			}
			theirs := makeKey()
			upstreamWraps(t, theirs, []byte("data key"))
			got, err := r.For(person).DataKey(t.Context(), &sops.Metadata{KeyGroups: []recipient.Group{{theirs}}})
			if err != nil || string(got) != "data key" {
				t.Errorf("we open upstream's: %q, %v", got, err)
			}
		})
	}
}

func TestFiveHundredDocumentsCostOneRequestEachAndUnderASharedKeyOne(t *testing.T) {
	s := newServices(t)
	s.allow("mine", "*")
	id := s.identity(t, "mine", "mine")
	for name, kind := range map[string]string{"aws": "aws/Decrypt", "google": "google/decrypt", "vault": "vault/decrypt"} {
		t.Run(name, func(t *testing.T) {
			r := s.ring(Options{})
			var own, shared []*sops.Metadata
			wrap := func() recipient.Key {
				k := s.recipients()[name]()
				enc, _, err := Wrapper{Online: r.Online(id)}.Wrap(t.Context(), k, []byte("0123456789abcdef0123456789abcdef"))
				must(t, err)
				k.SetWrapped(enc)
				return k
			}
			one := wrap()
			for range 500 {
				own = append(own, &sops.Metadata{KeyGroups: []recipient.Group{{wrap()}}})
				shared = append(shared, &sops.Metadata{KeyGroups: []recipient.Group{{one}}})
			}
			openAll := func(docs []*sops.Metadata) func() {
				return func() {
					var wg sync.WaitGroup
					for _, doc := range docs {
						wg.Go(func() {
							if _, err := r.For(id).DataKey(context.Background(), doc); err != nil {
								t.Error(err)
							}
						})
					}
					wg.Wait()
				}
			}
			for _, tt := range []struct {
				what string
				docs []*sops.Metadata
				want int
			}{{"own keys", own, 500}, {"own keys again", own, 0}, {"a shared key", shared, 1}, {"a shared key again", shared, 0}} {
				want := map[string]int{kind: tt.want}
				if tt.want == 0 {
					want = map[string]int{}
				}
				if got := s.spent(openAll(tt.docs)); !maps.Equal(got, want) {
					t.Errorf("%s: %v, want %v", tt.what, got, want)
				}
			}
			if n := r.Len(); n != 501 {
				t.Errorf("%d data keys in memory, want 501", n)
			}
		})
	}
}

func TestNoIdentityRidesOnWhatAnotherUnwrapped(t *testing.T) {
	s := newServices(t)
	s.allow("mine", "*")
	s.allow("theirs", "")
	r := s.ring(Options{})
	mine, theirs := s.identity(t, "mine", "mine"), s.identity(t, "theirs", "theirs")
	for name, makeKey := range s.recipients() {
		doc := seal(t, Wrapper{Online: r.Online(mine)}, recipient.Group{makeKey()})
		must(t, open(t, r.For(mine), doc))
		wantFault(t, open(t, r.For(theirs), doc), "SLU-VAULT-020")
		// The same name with another credential is another identity.
		swapped := mine
		switch name {
		case "aws":
			swapped.AWS = theirs.AWS
		case "google":
			swapped.Google = theirs.Google
		case "vault":
			swapped.Vault = theirs.Vault
		}
		if err := open(t, r.For(swapped), doc); err == nil {
			t.Errorf("%s: another credential was served from memory", name)
		}
		r.Forget("mine")
	}
	// An identity that is turned away anywhere loses everything it had unwrapped.
	first := seal(t, Wrapper{Online: r.Online(mine)}, recipient.Group{s.recipients()["aws"]()})
	second := seal(t, Wrapper{Online: r.Online(mine)}, recipient.Group{s.recipients()["vault"]()})
	must(t, open(t, r.For(mine), first))
	s.allow("mine", "")
	must(t, open(t, r.For(mine), first)) // from memory: nobody has asked since
	wantFault(t, open(t, r.For(mine), second), "SLU-VAULT-020")
	wantFault(t, open(t, r.For(mine), first), "SLU-VAULT-020")
}

// Whatever a service answers, no error repeats it: servers echo tokens, ciphertexts and data keys.
func TestWhatAServerEchoesIsInNoError(t *testing.T) {
	s := newServices(t)
	token := canary + "-token"
	s.allow("mine", "*")
	mine := s.identity(t, "mine", "mine")
	echo := func(status int, header string) func(http.ResponseWriter, *http.Request, string) bool {
		return func(w http.ResponseWriter, r *http.Request, sent string) bool {
			if header != "" {
				w.Header().Set("Location", header)
				w.Header().Set("Retry-After", "3600")
			}
			w.Header().Set("X-Amzn-ErrorType", canary)
			answer(w, status, map[string]any{
				"__type": canary + "Exception", "message": token + sent, "Message": token, "code": canary,
				"error":  map[string]any{"status": canary, "message": token + sent, "code": status},
				"errors": []string{token + sent + r.Header.Get("X-Vault-Token")}, "plaintext": "!" + canary, "Plaintext": "!" + canary,
				"data": map[string]any{"plaintext": "!" + canary, "ciphertext": canary},
			})
			return true
		}
	}
	for name, makeKey := range s.recipients() {
		s.reply = nil
		setup := s.ring(Options{})
		doc := seal(t, Wrapper{Online: setup.Online(mine)}, recipient.Group{makeKey()})
		for _, status := range []int{200, 307, 400, 401, 403, 404, 409, 429, 500, 503} {
			s.reply = echo(status, "https://evil.test/"+canary)
			r := s.ring(Options{Timeout: 200 * 1e6})
			id := s.identity(t, "x", token)
			err := open(t, r.For(id), doc) // looks for the canary along the chain
			if err == nil {
				t.Errorf("%s %d: opened", name, status)
			}
			if text := fmt.Sprintf("%v %+v", err, fault.From(err)); strings.Contains(strings.ToUpper(text), canary) {
				t.Errorf("%s %d: %s", name, status, text)
			}
			_, _, err = Wrapper{Online: r.Online(id)}.Wrap(t.Context(), makeKey(), []byte(canary))
			noCanary(t, err)
		}
	}
}

func TestAVaultTokenGoesOnlyWhereItMay(t *testing.T) {
	s := newServices(t)
	s.allow("token", "*")
	other := newServices(t)
	other.allow("token", "*")
	doc := func(address string) *sops.Metadata {
		k := transitRecipient(address, "transit", "sops")
		k.EncryptedKey = "vault:v1:AAAA"
		return &sops.Metadata{KeyGroups: []recipient.Group{{k}}}
	}
	secret := func(t *testing.T, addresses string) Identity {
		t.Helper()
		data := map[string][]byte{"sops.vault-token": []byte("token\n")}
		if addresses != "" {
			data["sops.vault-address"] = []byte(addresses)
		}
		id, err := FromSecret("s", data)
		must(t, err)
		return id
	}
	for _, tt := range []struct {
		name, entry, env, address string
		reached                   bool
	}{
		{"plain http, unnamed", "", "", s.URL, false},
		{"named by the Secret", s.URL, "", s.URL, true},
		{"another server than the Secret names", s.URL, "", other.URL, false},
		{"named by the environment", "", s.URL, s.URL, true},
		{"by the Secret, not by the environment", s.URL, other.URL, s.URL, false},
		{"the environment says all", "", "all", s.URL, false},
		{"the environment says none", s.URL, "none", s.URL, false},
		{"a prefix of a named host", strings.TrimSuffix(s.URL, s.URL[len(s.URL)-1:]), "", s.URL, false},
		{"a user in the address", s.URL, "", strings.Replace(s.URL, "http://", "http://x@", 1), false},
		{"a path in the address", s.URL, "", s.URL + "/evil", false},
		{"a query in the address", s.URL, "", s.URL + "?x", false},
		{"no scheme", s.URL, "", strings.TrimPrefix(s.URL, "http://"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(envVaultAllow, tt.env)
			id := secret(t, tt.entry)
			var err error
			ask := func() { _, err = New(Options{}).For(id).DataKey(t.Context(), doc(tt.address)) }
			got := s.spent(ask)["vault/decrypt"] + other.count["vault/decrypt"]
			if (got > 0) != tt.reached {
				t.Errorf("%d requests, err %v", got, err)
			}
			if f := fault.From(err); f == nil || f.Fix == "" || f.Hop != fault.HopKey {
				t.Errorf("%v", err)
			}
		})
	}
	for _, bad := range []string{"../sys/raw", "a/../b", "a b", "", "x?y", "%2e%2e"} {
		k := transitRecipient(s.URL, bad, "sops")
		k.EncryptedKey = "vault:v1:AAAA"
		if n := s.spent(func() {
			_, err := New(Options{}).For(secret(t, s.URL)).DataKey(t.Context(), &sops.Metadata{KeyGroups: []recipient.Group{{k}}})
			wantFault(t, err, "SLU-KEY-023")
		}); len(n) != 0 {
			t.Errorf("engine %q: %v", bad, n)
		}
	}
	t.Setenv("VAULT_TOKEN", "token")
	t.Setenv(envVaultAllow, "")
	c := EnvironmentClouds()
	_, err := New(Options{}).For(Identity{Name: "controller", Clouds: c}).DataKey(t.Context(), doc("https://vault.example.test"))
	if f := wantFault(t, err, "SLU-KEY-024"); !strings.Contains(f.Fix, envVaultAllow+"=https://vault.example.test") {
		t.Errorf("fix %s", f.Fix)
	}
}

func TestAControllerTakesNoCredentialFromAnywhereElse(t *testing.T) {
	s := newServices(t)
	s.allow("lying-around", "*")
	for k, v := range map[string]string{
		"AWS_ENDPOINT_URL": s.URL, "AWS_ACCESS_KEY_ID": "lying-around", "AWS_SECRET_ACCESS_KEY": "s", "GOOGLE_OAUTH_ACCESS_TOKEN": "lying-around", "VAULT_TOKEN": "lying-around",
	} {
		t.Setenv(k, v)
	}
	own, err := Workstation(t.Context(), WorkstationOptions{Home: t.TempDir()})
	must(t, err)
	for name, makeKey := range s.recipients() {
		doc := seal(t, Wrapper{Online: s.ring(Options{}).Online(own)}, recipient.Group{makeKey()})
		id, err := FromSecret("tenant", map[string][]byte{"a.agekey": []byte(ageKey(t).String())})
		must(t, err)
		if n := s.spent(func() { wantFault(t, open(t, s.ring(Options{}).For(id), doc), "SLU-KEYRING-001") }); len(n) != 0 {
			t.Errorf("%s: %v", name, n)
		}
	}
}

func TestSecretEntriesOfTheKeyServicesOpen(t *testing.T) {
	s := newServices(t)
	s.allow("mine", "*")
	s.allow("google-sa", "*")
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	raw, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "a@p.iam.gserviceaccount.com", "private_key_id": "1", "token_uri": "https://oauth2.googleapis.com/token",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)})),
	})
	must(t, err)
	id, err := FromSecret("s", map[string][]byte{
		"sops.aws-kms": []byte("aws_access_key_id: mine\naws_secret_access_key: s\n"), "sops.gcp-kms": append(raw, '\n'),
		"sops.vault-token": []byte("mine\n"), "sops.vault-address": []byte(s.URL),
	})
	must(t, err)
	if id.Google, err = gcp.FromServiceAccountKey(raw, gcp.Endpoints{STS: s.URL + "/v1/token"}); err != nil {
		t.Fatal(err)
	}
	r := s.ring(Options{})
	for name, makeKey := range s.recipients() {
		if err := open(t, r.For(id), seal(t, Wrapper{Online: r.Online(s.identity(t, "o", "mine"))}, recipient.Group{makeKey()})); err != nil {
			t.Error(name, err)
		}
	}
}
