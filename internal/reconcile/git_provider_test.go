package reconcile

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

type fakeCredential struct{ scopes []string }

func (f *fakeCredential) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	f.scopes = append(f.scopes, o.Scopes...)
	return azcore.AccessToken{Token: "entra-token", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// guarded is the world's Git server behind a check of the Authorization header.
func (w *world) guarded(want func(*http.Request) bool) string {
	w.t.Helper()
	target, err := url.Parse(w.url)
	if err != nil {
		w.t.Fatal(err)
	}
	target.Path = ""
	forward := httputil.NewSingleHostReverseProxy(target)
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if !want(r) {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		forward.ServeHTTP(rw, r)
	}))
	w.t.Cleanup(s.Close)
	return s.URL + "/app.git"
}

func TestProvidersSignInToTheRemote(t *testing.T) {
	w := newWorld(t)
	rev := w.push(map[string]string{"a/one.yaml": configMap("one", "1")})
	g := newGitRepositories(w.client, w.client, NewRevisions(), &Artifacts{Dir: t.TempDir()}, t.TempDir())
	credential := &fakeCredential{}
	g.cloud = gitCloud{
		azure:  func() (azcore.TokenCredential, error) { return credential, nil },
		devOps: func(host string) bool { return host == "127.0.0.1" }, insecure: true,
	}
	attempt := func(name string, edit func(*sourcev1.GitRepositorySpec)) (string, error) {
		t.Helper()
		r := &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
		r.Spec.Reference = &sourcev1.GitRepositoryRef{Branch: "main"}
		edit(&r.Spec)
		state, err := g.state(client.ObjectKeyFromObject(r))
		if err != nil {
			t.Fatal(err)
		}
		got, err := g.fetch(t.Context(), r, state)
		if err != nil {
			return "", err
		}
		return got.Name, nil
	}

	azure := w.guarded(func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer entra-token" })
	name, err := attempt("azure", func(s *sourcev1.GitRepositorySpec) { s.URL, s.Provider = azure, "azure" })
	if err != nil || name != rev || len(credential.scopes) != 1 || credential.scopes[0] != devOpsScope {
		t.Errorf("azure: %s, %v, scopes %v", name, err, credential.scopes)
	}
	_, err = attempt("elsewhere", func(s *sourcev1.GitRepositorySpec) {
		s.URL, s.Provider = strings.Replace(azure, "127.0.0.1", "localhost", 1), "azure"
	})
	if err == nil || reasonOf(err, "") != sourcev1.InvalidProviderConfigurationReason || len(credential.scopes) != 1 {
		t.Errorf("a token for another host: %v, scopes %v", err, credential.scopes)
	}
	for host, want := range map[string]bool{"dev.azure.com": true, "org.visualstudio.com": true, "DEV.azure.com": true, "dev.azure.com.evil.org": false, "visualstudio.com.x": false, "xdev.azure.com": false} {
		if newGitCloud().devOps(host) != want {
			t.Errorf("devOps(%s) is not %v", host, want)
		}
	}

	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	issued := 0
	api := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		issued++
		fmt.Fprintf(rw, `{"token":"ghs_%d","expires_at":%q}`, issued, time.Now().Add(time.Hour).Format(time.RFC3339))
	}))
	defer api.Close()
	valid := "ghs_1"
	hub := w.guarded(func(r *http.Request) bool {
		user, pass, _ := r.BasicAuth()
		mu.Lock()
		defer mu.Unlock()
		return user == "x-access-token" && pass == valid
	})
	data := map[string][]byte{
		"githubAppID": []byte("7"), "githubAppInstallationID": []byte("42"), "githubAppBaseURL": []byte(api.URL),
		"githubAppPrivateKey": pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
	}
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "app"}, Data: data})
	github := func(s *sourcev1.GitRepositorySpec) {
		s.URL, s.Provider, s.SecretRef = hub, "github", &meta.LocalObjectReference{Name: "app"}
	}
	for range 2 {
		if name, err := attempt("github", github); err != nil || name != rev || issued != 1 {
			t.Errorf("github: %s, %v, %d tokens were issued", name, err, issued)
		}
	}
	_, err = attempt("github", func(s *sourcev1.GitRepositorySpec) { github(s); s.SecretRef = nil })
	if reasonOf(err, "") != sourcev1.InvalidProviderConfigurationReason {
		t.Errorf("github without a Secret: %v", err)
	}
	_, err = attempt("generic", func(s *sourcev1.GitRepositorySpec) { github(s); s.Provider = "" })
	if reasonOf(err, "") != sourcev1.InvalidProviderConfigurationReason || !strings.Contains(err.Error(), "spec.provider: github") {
		t.Errorf("app data without the provider: %v", err)
	}
}

func TestTheProxyComesFromItsSecret(t *testing.T) {
	w := newWorld(t)
	rev := w.push(map[string]string{"a/one.yaml": configMap("one", "1")})
	target, err := url.Parse(w.url)
	if err != nil {
		t.Fatal(err)
	}
	target.Path = ""
	forward := httputil.NewSingleHostReverseProxy(target)
	proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Host != "git.invalid" || r.Header.Get("Proxy-Authorization") == "" {
			rw.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		r.Host = target.Host // the server answers to its own names alone
		forward.ServeHTTP(rw, r)
	}))
	defer proxy.Close()
	secret := func(name string, data map[string][]byte) {
		w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}, Data: data})
	}
	secret("proxy", map[string][]byte{"address": []byte(proxy.URL), "username": []byte("ada"), "password": []byte(canary)})
	secret("wrong", map[string][]byte{"address": []byte("ftp://x")})
	w.repository("app", func(s *sourcev1.GitRepositorySpec) {
		s.URL, s.ProxySecretRef = "http://git.invalid/app.git", &meta.LocalObjectReference{Name: "proxy"}
	})
	w.untilSource("app", "True", "Succeeded", rev)
	for _, name := range []string{"wrong", "none"} {
		w.edit("app", func(s *sourcev1.GitRepositorySpec) { s.ProxySecretRef.Name = name })
		w.untilSource("app", "False", "AuthenticationFailed", "failed to configure proxy options")
	}
	w.mustNotLeak(canary)
}

func TestSubmodulesAreAppliedAndArchived(t *testing.T) {
	w := newWorld(t)
	w.push(map[string]string{"base/one.yaml": configMap("one", "1")})
	pinned := w.git("rev-parse", "HEAD")
	w.git("update-index", "--add", "--cacheinfo", "160000,"+pinned+",vendor/lib")
	rev := w.pushModule("[submodule \"lib\"]\n\tpath = vendor/lib\n\turl = ../app.git\n")
	w.repository("app", func(s *sourcev1.GitRepositorySpec) { s.RecurseSubmodules = true })
	r := w.untilSource("app", "True", "Succeeded", rev)
	if got := w.archived(r); got != "base/one.yaml vendor/lib/base/one.yaml" || !r.Status.ObservedRecurseSubmodules {
		t.Errorf("the archive holds %s", got)
	}
}

// pushModule commits .gitmodules and what the index holds besides; push would drop a submodule without a checkout.
func (w *world) pushModule(text string) string {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.work, ".gitmodules"), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
	w.git("add", ".gitmodules")
	w.git("commit", "-q", "-m", "module")
	w.git("push", "-q", "origin", "HEAD:main")
	return "main@sha1:" + w.git("rev-parse", "HEAD")
}
