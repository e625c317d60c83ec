package reconcile

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/ProtonMail/go-crypto/openpgp"
	pgparmor "github.com/ProtonMail/go-crypto/openpgp/armor"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/keyring"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

// Values with what JSON, HTML and base64 write in several ways.
const (
	ageCanary = `age-canary "<&>\ ~?7f3a9c`
	pgpCanary = `pgp-canary '>>>' ~?9d0b1e`
	varCanary = `var-canary-77aa31`
)

// canaryKeys is a decryption Secret with an age and a PGP key, and what seals for each.
type canaryKeys struct {
	age  *age.X25519Identity
	pgp  *openpgp.Entity
	seal func(kind, document string) string
}

func newCanaryKeys(w *world) *canaryKeys {
	w.t.Helper()
	must := func(err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	id, err := age.GenerateX25519Identity()
	must(err)
	entity, err := openpgp.NewEntity("sluice", "test", "sluice@example.test", nil)
	must(err)
	var armored bytes.Buffer
	out, err := pgparmor.Encode(&armored, openpgp.PrivateKeyType, nil)
	must(err)
	must(entity.SerializePrivate(out, nil))
	must(out.Close())
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "keys"},
		Data: map[string][]byte{"id.agekey": []byte(id.String()), "id.asc": append(armored.Bytes(), '\n')}})
	ageKey, err := recipient.ParseAge(id.Recipient().String())
	must(err)
	pgpKey := recipient.NewPGP(strings.ToUpper(hex.EncodeToString(entity.PrimaryKey.Fingerprint)))
	return &canaryKeys{age: id, pgp: entity, seal: func(kind, document string) string {
		w.t.Helper()
		group := recipient.Group{ageKey}
		if kind == "pgp" {
			group = recipient.Group{pgpKey}
		}
		sealed, err := sops.Seal(w.t.Context(), []byte(document), sops.YAML, sops.SealOptions{EncryptedRegex: "^(data|stringData|spec)$",
			Recipients: []recipient.Group{group}, Wrap: keyring.Wrapper{PGP: openpgp.EntityList{entity}}.Wrap})
		must(err)
		return string(sealed)
	}}
}

// document is a Secret; more is further YAML at its top.
func document(name, key, value, more string) string {
	text, _ := json.Marshal(value)
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\nstringData:\n  %q: %s\n%s", name, key, text, more)
}

// quoting is a policy whose refusal quotes the values of every Secret named quoted, as careless ones do.
func (w *world) quoting() {
	w.t.Helper()
	w.create(&admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}, Spec: admissionv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: &admissionv1.MatchResources{
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": w.namespace}},
			ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
				Operations: []admissionv1.OperationType{"CREATE", "UPDATE"}, Rule: admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"secrets"}}}}},
		},
		Validations: []admissionv1.Validation{{
			Expression:        "object.metadata.name != 'quoted'",
			MessageExpression: "'no to ' + string(object.data['k'])",
		}},
	}})
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: w.namespace},
		Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: w.namespace, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny}}}
	w.create(binding)
	w.t.Cleanup(func() {
		policy := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}
		for _, o := range []client.Object{binding, policy} {
			if err := w.client.Delete(w.t.Context(), o); client.IgnoreNotFound(err) != nil && w.t.Context().Err() == nil {
				w.t.Error(err)
			}
		}
	})
	testkit.Eventually(w.t, 30*time.Second, func() error { // it takes the API server a moment
		probe := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "quoted"}, Data: map[string][]byte{"k": []byte("probe")}}
		err := w.client.Create(w.t.Context(), probe, client.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), "no to cHJvYmU=") {
			return fmt.Errorf("the policy does not quote yet: %v", err)
		}
		return nil
	})
}

// panicking makes the controllers panic with the request when they write an object named so.
func panicking(name string) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/"+name) {
				body, _ := io.ReadAll(r.Body)
				panic("provoked: " + string(body))
			}
			return next.RoundTrip(r)
		})
	}
}

// TestNoSecretValueIsWrittenAnywhere seals canaries for every kind of key that opens here, makes each of the ways in
// which values have escaped from controllers happen, and searches everything that left the process, in every form.
func TestNoSecretValueIsWrittenAnywhere(t *testing.T) {
	testkit.Cluster(t) // its own folder and log may hold what it was sent
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	stderr, err := os.Create(filepath.Join(temp, "stderr")) // where klog goes that nobody told otherwise
	if err != nil {
		t.Fatal(err)
	}
	was := os.Stderr
	os.Stderr = stderr
	defer func() { os.Stderr = was }()

	w := newWorld(t)
	keys := newCanaryKeys(w)
	w.quoting()
	posted := &lockedBuffer{}
	sink := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(posted, r.Body)
	}))
	defer sink.Close()
	w.stop()
	w.options.Log = slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug - 4, AddSource: true}))
	w.options.EventsAddr, w.options.MetricsAddr = sink.URL, freeAddr(t)
	w.options.Config = rest.CopyConfig(w.options.Config)
	w.options.Config.Wrap(panicking("panics"))
	a := withAzure(t, w)
	sealVault := a.vault("canary-vault", a.account("tenant").PrincipalID)

	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "vars"}, Data: map[string][]byte{"PORT": []byte(varCanary)}})
	good := document("kept", "k", ageCanary, "immutable: true\n")
	w.push(map[string]string{
		"good/age.yaml":    keys.seal("age", good),
		"good/pgp.yaml":    keys.seal("pgp", document("by-pgp", "k", pgpCanary, "")),
		"vault/vault.yaml": sealVault("by-vault"),

		"type/a.yaml":   keys.seal("age", document("wrong-type", ".dockerconfigjson", ageCanary, "type: kubernetes.io/dockerconfigjson\n")),
		"key/a.yaml":    keys.seal("pgp", document("wrong-key", "not a key", pgpCanary, "")),
		"base64/a.yaml": keys.seal("age", strings.Replace(document("not-base64", "k", ageCanary, ""), "stringData", "data", 1)),
		"shape/a.yaml":  keys.seal("age", strings.Replace(document("wrong-shape", "k", ageCanary, ""), "stringData:\n  \"k\":", "stringData:", 1)),
		"policy/a.yaml": keys.seal("pgp", document("quoted", "k", pgpCanary, "")),
		"number/a.yaml": keys.seal("age", "apiVersion: v1\nkind: Service\nmetadata:\n  name: wrong-number\nspec:\n  ports:\n  - port: "+strings.TrimSpace(quoted(ageCanary))+"\n"),
		"vars/a.yaml":   "apiVersion: v1\nkind: Service\nmetadata:\n  name: wrong-port\nspec:\n  ports:\n  - port: ${PORT}\n",
		"panic/a.yaml":  keys.seal("age", document("panics", "k", ageCanary, "")),
		"forged/a.yaml": strings.Replace(keys.seal("age", document("forged", "k", ageCanary, "")), "AES256_GCM,data:", "AES256_GCM,data:AAAA", 1),
	})
	w.source()
	ks := func(name string, edit func(*kustomizev1.KustomizationSpec)) *Kustomization {
		return w.kustomization(name, func(s *kustomizev1.KustomizationSpec) {
			s.Decryption = &kustomizev1.Decryption{Provider: "sops", SecretRef: &meta.LocalObjectReference{Name: "keys"}}
			if edit != nil {
				edit(s)
			}
		})
	}
	ok := ks("good", nil)
	w.until(ok, "True", "Applied")
	w.until(ks("vault", func(s *kustomizev1.KustomizationSpec) {
		s.Decryption = &kustomizev1.Decryption{Provider: "sops", ServiceAccountName: "tenant"}
	}), "True", "Applied")
	for name, want := range map[string]string{
		"type": "dockerconfigjson", "key": "", "base64": "", "shape": "", "policy": "no to", "number": "port", "panic": "a bug: panic at", "forged": "sops",
	} {
		w.until(ks(name, nil), "False", want)
	}
	vars := ks("vars", func(s *kustomizev1.KustomizationSpec) {
		s.PostBuild = &kustomizev1.PostBuild{SubstituteFrom: []kustomizev1.SubstituteReference{{Kind: "Secret", Name: "vars"}}}
	})
	w.until(vars, "False", "port")
	w.push(map[string]string{"good/age.yaml": keys.seal("age", document("kept", "k", ageCanary+" changed", "immutable: true\n"))})
	w.until(ok, "False", "immutable")

	canaries := []testkit.Canary{ageCanary, pgpCanary, varCanary, canary, testkit.Canary(keys.age.String()[20:])}
	w.mustNotHold(canaries...)
	testkit.MustNotHold(t, "the metrics", []byte(strings.Join(scrape(t, w.options.MetricsAddr), "\n")), canaries...)
	w.stop()
	for _, said := range []string{posted.String(), w.log.String()} {
		if !strings.Contains(said, "a bug: panic at") {
			t.Error("a notification or the log does not tell of the panic: they were not searched")
		}
	}
	testkit.MustNotHold(t, "a notification", []byte(posted.String()), canaries...)
	testkit.MustNotHold(t, "the log", []byte(w.log.String()), canaries...)
	if files := testkit.FolderMustNotHold(t, w.options.StoragePath, canaries...) + testkit.FolderMustNotHold(t, temp, canaries...); files < 5 {
		t.Errorf("only %d files were searched", files)
	}
}

func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// mustNotHold searches what the API server keeps of the controllers' words.
func (w *world) mustNotHold(canaries ...testkit.Canary) {
	w.t.Helper()
	for _, list := range []client.ObjectList{&corev1.EventList{}, &KustomizationList{}, &sourcev1.GitRepositoryList{}} {
		if err := w.client.List(w.t.Context(), list, client.InNamespace(w.namespace)); err != nil {
			w.t.Fatal(err)
		}
		text, err := json.Marshal(list)
		if err != nil {
			w.t.Fatal(err)
		}
		testkit.MustNotHold(w.t, fmt.Sprintf("%T", list), text, canaries...)
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(nil)
	defer s.Close()
	return s.Listener.Addr().String()
}
