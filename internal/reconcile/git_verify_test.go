package reconcile

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// author signs commits as git does.
type author struct{ *openpgp.Entity }

func newAuthor(t *testing.T) author {
	t.Helper()
	e, err := openpgp.NewEntity("Ada", "", "ada@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	return author{e}
}

func (a author) ring(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	if err == nil {
		err = a.Serialize(w)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sign makes the pushed commit a signed one, and returns its revision.
func (w *world) sign(a author) string {
	w.t.Helper()
	raw := w.git("cat-file", "commit", "HEAD") + "\n"
	var sig bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&sig, a.Entity, strings.NewReader(raw), nil); err != nil {
		w.t.Fatal(err)
	}
	head, body, _ := strings.Cut(raw, "\n\n")
	at := filepath.Join(w.t.TempDir(), "commit")
	text := head + "\ngpgsig " + strings.ReplaceAll(strings.TrimSpace(sig.String()), "\n", "\n ") + "\n\n" + body
	if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	hash := w.git("hash-object", "-t", "commit", "-w", at)
	w.git("reset", "-q", "--soft", hash)
	w.git("push", "-q", "--force", "origin", "HEAD:main")
	w.poke(&sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "app"}})
	return "main@sha1:" + hash
}

func TestOnlyVerifiedRevisionsAreHandedOn(t *testing.T) {
	w, ada, eve := newWorld(t), newAuthor(t), newAuthor(t)
	w.create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "authors"},
		Data:       map[string][]byte{"ada.asc": ada.ring(t)},
	})
	w.push(map[string]string{"a/one.yaml": configMap("one", "1")})
	good := w.sign(ada)
	w.repository("app", func(s *sourcev1.GitRepositorySpec) {
		s.Verification = &sourcev1.GitRepositoryVerification{Mode: "HEAD", SecretRef: meta.LocalObjectReference{Name: "authors"}}
	})
	r := w.untilSource("app", "True", "Succeeded", good)
	c := apimeta.FindStatusCondition(r.Status.Conditions, sourcev1.SourceVerifiedCondition)
	want := "verified signature of\n\t- commit '" + strings.TrimPrefix(good, "main@sha1:") + "' with key '" + ada.PrimaryKey.KeyIdString() + "'"
	if c == nil || c.Status != "True" || c.Message != want {
		t.Errorf("SourceVerified = %+v, want %q", c, want)
	}
	if m := r.Status.SourceVerificationMode; m == nil || *m != sourcev1.ModeGitHEAD {
		t.Errorf("sourceVerificationMode = %v", m)
	}
	k := w.kustomization("a", nil)
	w.until(k, "True", good)

	w.push(map[string]string{"a/one.yaml": configMap("one", "evil")})
	r = w.untilSource("app", "False", "InvalidCommitSignature", "has no signature")
	if err := hasCondition(r, sourcev1.SourceVerifiedCondition, "False", "InvalidCommitSignature"); err != nil || r.Status.Artifact.Revision != good {
		t.Errorf("%v, artifact %s", err, r.Status.Artifact.Revision)
	}
	w.push(nil)
	w.sign(eve)
	w.untilSource("app", "False", "InvalidCommitSignature", "any of the given key rings")
	w.poke(k)
	w.until(k, "True", good)
	if cm, err := w.configMap("one"); err != nil || cm.Data["key"] != "1" {
		t.Errorf("ConfigMap one = %v, %v", cm.Data, err)
	}
	w.push(nil)
	next := w.sign(ada)
	w.until(k, "True", next)

	w.edit("app", func(s *sourcev1.GitRepositorySpec) { s.Verification.Mode = sourcev1.ModeGitTag })
	r = w.untilSource("app", "False", "InvalidVerificationMode", "if a tag reference is not specified")
	if !apimeta.IsStatusConditionTrue(r.Status.Conditions, meta.StalledCondition) {
		t.Errorf("not stalled: %+v", r.Status.Conditions)
	}
	w.edit("app", func(s *sourcev1.GitRepositorySpec) {
		s.Verification.Mode, s.Verification.SecretRef.Name = "HEAD", "none"
	})
	w.untilSource("app", "False", sourcev1.VerificationError, "public keys secret error")
	w.edit("app", func(s *sourcev1.GitRepositorySpec) { s.Verification = nil })
	r = w.untilSource("app", "True", "Succeeded", next)
	if apimeta.FindStatusCondition(r.Status.Conditions, sourcev1.SourceVerifiedCondition) != nil || r.Status.SourceVerificationMode != nil {
		t.Errorf("what was verified is still told: %+v", r.Status)
	}
}
