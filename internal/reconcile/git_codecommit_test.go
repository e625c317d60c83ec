package reconcile

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/kms/aws"
)

// signedFor is CodeCommit's judgement of a password: AWS's documentation of Signature Version 4, with the method GIT.
func signedFor(password, secret, region, host, path string) bool {
	at, signature, _ := strings.Cut(password, "Z")
	if len(at) != len("20060102T150405") {
		return false
	}
	mac := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	day := at[:8]
	request := sha256.Sum256([]byte(strings.Join([]string{"GIT", path, "", "host:" + host, "", "host", ""}, "\n")))
	text := strings.Join([]string{"AWS4-HMAC-SHA256", at, day + "/" + region + "/codecommit/aws4_request", hex.EncodeToString(request[:])}, "\n")
	key := mac(mac(mac(mac([]byte("AWS4"+secret), day), region), "codecommit"), "aws4_request")
	return signature == hex.EncodeToString(mac(key, text))
}

func TestCodeCommitIsSignedInToAsTheServiceAccountOrTheControllerAndNobodyElse(t *testing.T) {
	const host, path = "git-codecommit.eu-central-1.amazonaws.com", "/v1/repos/app"
	w := newWorld(t)
	f := newFakeAWS(t, "system:serviceaccount:"+w.namespace+":tenant")
	g := newGitRepositories(w.client, w.client, NewRevisions(), &Artifacts{Dir: t.TempDir()}, t.TempDir())
	g.cloud.aws = func() (*aws.Credentials, error) { return aws.Static("AKCONTROLLER", "own-secret", ""), nil }
	g.cloud.sts = f.URL
	repo := &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "app"}}
	repo.Spec.URL, repo.Spec.Provider = "https://"+host+path, "aws"
	auth, err := g.auth(t.Context(), repo, &gitState{})
	if err != nil || auth.Username != "AKCONTROLLER" || !signedFor(auth.Password, "own-secret", "eu-central-1", host, path) {
		t.Errorf("as the controller: %s, %v", auth.Username, err)
	}

	repo.Spec.ServiceAccountName = "tenant"
	refused := func(want string) {
		t.Helper()
		if auth, err := g.auth(t.Context(), repo, &gitState{}); err == nil || !strings.Contains(fault.From(err).Multiline(), want) || auth.Username != "" {
			t.Errorf("as %q: %v, want %s", auth.Username, err, want)
		}
	}
	refused("--feature-gates=ObjectLevelWorkloadIdentity=true")
	g.Features = Features{ObjectLevelWorkloadIdentity: true}
	refused("kubectl create serviceaccount tenant")
	w.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "tenant", Annotations: map[string]string{annotationRole: remoteRole}}})
	if auth, err = g.auth(t.Context(), repo, &gitState{}); err != nil || auth.Username != fakeKey+"%"+fakeSession ||
		!signedFor(auth.Password, fakeSecret, "eu-central-1", host, path) || auth.BearerToken != "" {
		t.Errorf("as the account: %s, %v", auth.Username, err)
	}
	if _, err := g.auth(t.Context(), repo, &gitState{}); err != nil || f.signIns.Load() != 1 {
		t.Errorf("the session is not kept: %d sign-ins, %v", f.signIns.Load(), err)
	}
	f.subject = "somebody else" // a trust policy that does not admit the account
	g.identities.clouds = accountClouds{}
	refused("trust policy")

	for _, url := range []string{
		"http://" + host + path, "https://git-codecommit.eu-central-1.amazonaws.com.evil.example" + path, "https://" + host + ":8443" + path,
		"https://evil.example/git-codecommit.eu-central-1.amazonaws.com", "ssh://" + host + path,
	} {
		repo.Spec.URL = url
		if _, _, err := g.codeCommit(t.Context(), repo); reasonOf(err, "") != sourcev1.InvalidProviderConfigurationReason {
			t.Errorf("%s: %v", url, err)
		}
	}
}
