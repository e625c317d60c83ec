package reconcile

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	"golang.org/x/oauth2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/azure/identity"
	"github.com/sluice-gitops/sluice/internal/keyring"
	"github.com/sluice-gitops/sluice/internal/kms/aws"
	"github.com/sluice-gitops/sluice/internal/kms/gcp"
)

const (
	remoteRole = "arn:aws:iam::123456789012:role/deployer"
	remoteEKS  = "arn:aws:eks:eu-central-1:123456789012:cluster/remote"
	remoteGKE  = "projects/p/locations/europe-west1/clusters/remote"
	remotePool = "projects/1/locations/global/workloadIdentityPools/p/providers/aks"
)

// fakeAWS is STS, which gives one role to one ServiceAccount, and EKS, which tells that role where its cluster is.
type fakeAWS struct {
	*httptest.Server
	subject   string
	api       *httptest.Server // the cluster
	readable  atomic.Bool      // the role may describe it
	described atomic.Int64
	signIns   atomic.Int64
}

const fakeKey, fakeSecret, fakeSession = "ASIAREMOTE", "fake-secret", "fake-session"

func newFakeAWS(t *testing.T, subject string) *fakeAWS {
	f := &fakeAWS{subject: subject}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	f.api = guarded(t, func(token string) bool {
		raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(token, "k8s-aws-v1."))
		if err != nil || !strings.HasPrefix(string(raw), f.URL+"/?") {
			return false
		}
		req, err := http.NewRequest(http.MethodGet, string(raw), nil)
		if err != nil {
			return false
		}
		req.Header.Set("x-k8s-aws-id", "remote")
		res, err := f.Client().Do(req)
		if err != nil {
			return false
		}
		defer func() { _ = res.Body.Close() }()
		return res.StatusCode == http.StatusOK
	})
	return f
}

// ServeHTTP implements http.Handler.
func (f *fakeAWS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	switch {
	case r.Method == http.MethodPost:
		_ = r.ParseForm()
		claims, err := identity.ParseClaims(r.Form.Get("WebIdentityToken"))
		if err != nil || claims.Subject != f.subject || strings.Join(claims.Audience, " ") != awsAudience || r.Form.Get("RoleArn") != remoteRole {
			http.Error(w, `<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>`, http.StatusForbidden)
			return
		}
		f.signIns.Add(1)
		fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey>
<SessionToken>%s</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`,
			fakeKey, fakeSecret, fakeSession, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	case strings.HasPrefix(r.URL.Path, "/clusters/"):
		f.described.Add(1)
		signed := strings.Contains(r.Header.Get("Authorization"), "Credential="+fakeKey+"/") && strings.Contains(r.Header.Get("Authorization"), "/eu-central-1/eks/aws4_request")
		if !signed || !f.readable.Load() || r.URL.Path != "/clusters/remote" {
			http.Error(w, canary, http.StatusForbidden)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"cluster": map[string]any{"endpoint": f.api.URL, "certificateAuthority": map[string]any{"data": certificate(f.api)}}})
	case q.Get("Action") == "GetCallerIdentity" && q.Get("X-Amz-Signature") == presigned(r) && q.Get("X-Amz-Security-Token") == fakeSession &&
		q.Get("X-Amz-SignedHeaders") == "host;x-k8s-aws-id":
		_, _ = w.Write([]byte("<GetCallerIdentityResponse/>"))
	default:
		w.WriteHeader(http.StatusForbidden)
	}
}

// presigned is the signature that a request must have in its query (AWS's documentation of Signature Version 4), bound to
// its host and its header x-k8s-aws-id.
func presigned(r *http.Request) string {
	q := r.URL.Query()
	q.Del("X-Amz-Signature")
	hash := func(s string) string { sum := sha256.Sum256([]byte(s)); return hex.EncodeToString(sum[:]) }
	canonical := strings.Join([]string{
		"GET", "/", strings.ReplaceAll(q.Encode(), "+", "%20"), "host:" + r.Host, "x-k8s-aws-id:" + r.Header.Get("x-k8s-aws-id"), "", "host;x-k8s-aws-id", hash(""),
	}, "\n")
	at := q.Get("X-Amz-Date")
	if len(at) < 8 {
		return "none"
	}
	scope := at[:8] + "/eu-central-1/sts/aws4_request"
	key := []byte("AWS4" + fakeSecret)
	for _, part := range append(strings.Split(scope, "/"), "AWS4-HMAC-SHA256\n"+at+"\n"+scope+"\n"+hash(canonical)) {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return hex.EncodeToString(key)
}

func certificate(s *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

// remoteBy makes a Kustomization that applies to the cluster of a ConfigMap, as ServiceAccount deployer.
func (w *world) remoteBy(data map[string]string, annotations map[string]string) *Kustomization {
	w.t.Helper()
	w.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "deployer", Annotations: annotations}})
	data["serviceAccountName"] = "deployer"
	w.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "remote"}, Data: data})
	w.push(map[string]string{"a/one.yaml": configMap("one", "1")})
	w.source()
	return w.kustomization("a", func(s *kustomizev1.KustomizationSpec) {
		s.KubeConfig = &meta.KubeConfigReference{ConfigMapRef: &meta.LocalObjectReference{Name: "remote"}}
	})
}

func TestTheAWSProviderSignsInToEKSAsTheNamedServiceAccount(t *testing.T) {
	// The controller's own identity, which must not be used.
	t.Setenv("AWS_ACCESS_KEY_ID", "controller")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "controller")
	w := newWorld(t)
	f := newFakeAWS(t, "system:serviceaccount:"+w.namespace+":deployer")
	k := w.remoteBy(map[string]string{"provider": "aws", "cluster": remoteEKS}, map[string]string{annotationRole: remoteRole})
	if got := w.until(k, "False", "--feature-gates=ObjectLevelWorkloadIdentity=true"); readyReason(got) != "FeatureGateDisabled" {
		t.Errorf("reason = %s", readyReason(got))
	}
	w.stop()
	w.options.Features = Features{ObjectLevelWorkloadIdentity: true}
	w.options.cloud = cloudEndpoints{aws: f.URL}
	w.start()
	w.until(k, "False", "eks:DescribeCluster") // no right yet
	f.readable.Store(true)
	w.poke(k)
	w.until(k, "True", "Applied")
	if _, err := w.configMap("one"); err != nil {
		t.Error(err)
	}
	before, sessions := f.described.Load(), f.signIns.Load()
	w.until(k, "True", w.push(map[string]string{"a/one.yaml": configMap("one", "2")}))
	if f.described.Load() != before || f.signIns.Load() != sessions || sessions != 1 {
		t.Errorf("EKS was asked %d times more, of %d sessions", f.described.Load()-before, f.signIns.Load())
	}
	if strings.Contains(w.log.String(), canary) {
		t.Error("the service's words are in the log")
	}
}

func TestTheGCPProviderSignsInToGKEAsTheNamedServiceAccount(t *testing.T) {
	w := newWorld(t)
	api := guarded(t, func(token string) bool { return token == "tenants-token" })
	var readable atomic.Bool
	google := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		bearer := r.Header.Get("Authorization")
		switch {
		case r.URL.Path == "/token":
			claims, err := identity.ParseClaims(r.Form.Get("subject_token"))
			if err != nil || claims.Subject != "system:serviceaccount:"+w.namespace+":deployer" || strings.Join(claims.Audience, " ") != "//iam.googleapis.com/"+remotePool ||
				r.Form.Get("scope") != "https://www.googleapis.com/auth/cloud-platform" {
				rw.WriteHeader(http.StatusForbidden)
				return
			}
			rw.Header().Set("Content-Type", "application/json")
			_, _ = rw.Write([]byte(`{"access_token":"pools-token","issued_token_type":"urn:ietf:params:oauth:token-type:access_token","token_type":"Bearer","expires_in":3600}`))
		case strings.HasSuffix(r.URL.Path, "/deploy@p.iam.gserviceaccount.com:generateAccessToken") && bearer == "Bearer pools-token":
			_ = json.NewEncoder(rw).Encode(map[string]string{"accessToken": "tenants-token", "expireTime": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)})
		case r.URL.Path == "/v1/"+remoteGKE && bearer == "Bearer tenants-token" && readable.Load():
			_ = json.NewEncoder(rw).Encode(map[string]any{"endpoint": strings.TrimPrefix(api.URL, "https://"), "masterAuth": map[string]any{"clusterCaCertificate": certificate(api)}})
		default:
			http.Error(rw, canary, http.StatusForbidden)
		}
	}))
	t.Cleanup(google.Close)
	w.stop()
	w.options.Features = Features{ObjectLevelWorkloadIdentity: true}
	w.options.cloud = cloudEndpoints{google: gcp.Endpoints{STS: google.URL + "/token", IAMCredentials: google.URL}, gke: google.URL}
	w.start()
	k := w.remoteBy(map[string]string{"provider": "gcp", "cluster": remoteGKE},
		map[string]string{annotationProvider: remotePool, annotationEmail: "deploy@p.iam.gserviceaccount.com"})
	w.until(k, "False", "roles/container.clusterViewer") // no right yet
	readable.Store(true)
	w.poke(k)
	w.until(k, "True", "Applied")
	if _, err := w.configMap("one"); err != nil {
		t.Error(err)
	}
	if strings.Contains(w.log.String(), canary) {
		t.Error("the service's words are in the log")
	}
}

func TestTheControllersOwnProofGoesOnlyWhereTheCloudSaysTheClusterIs(t *testing.T) {
	asked := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked[r.URL.Path]++
		_, _ = w.Write([]byte(`{"cluster":{"endpoint":"https://cluster.example","certificateAuthority":{"data":"Y2E="}},"endpoint":"cluster.example","masterAuth":{"clusterCaCertificate":"Y2E="}}`))
	}))
	t.Cleanup(server.Close)
	k := &Kustomizations{appliers: &appliers{}, Options: Options{cloud: cloudEndpoints{aws: server.URL, gke: server.URL}}}
	k.workload.clouds = keyring.Clouds{AWS: aws.Static("id", "secret", ""), Google: oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "t"})}
	for i, tt := range []struct{ provider, cluster, address, want string }{
		{"aws", remoteEKS, "https://evil.example", "is not that of the cluster, which is https://cluster.example"},
		{"aws", remoteEKS, "https://cluster.example:443", ""},
		{"aws", remoteEKS, "http://cluster.example", "no https address"},
		{"aws", "arn:aws:eks:eu-central-1:1:cluster/../x", "", "not the ARN of an EKS cluster"},
		{"aws", "", "https://cluster.example", "not the ARN of an EKS cluster"},
		{"gcp", remoteGKE, "evil.example", "is not that of the cluster"},
		{"gcp", remoteGKE, "", ""},
		{"gcp", "", "https://evil.example", "no cluster is named"},
		{"gcp", "projects/p/locations/l/clusters/../../x", "", "not the name of a GKE cluster"},
	} {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{UID: "u", ResourceVersion: fmt.Sprint(i)}}
		cm.Data = map[string]string{"provider": tt.provider, "cluster": tt.cluster, "address": tt.address, "ca.crt": "ca"}
		c, err := k.cloudCluster(t.Context(), cm, "")
		switch {
		case tt.want == "" && (err != nil || !sameHost(c.config.Host, "https://cluster.example")):
			t.Errorf("%v: %v", tt, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%v: %v", tt, err)
		}
	}
	if len(asked) != 2 {
		t.Errorf("asked %v", asked)
	}
	k.workload.clouds = keyring.EnvironmentClouds()
	for _, provider := range []string{"aws", "gcp"} {
		cm := &corev1.ConfigMap{Data: map[string]string{"provider": provider, "cluster": remoteEKS}}
		if _, err := k.cloudCluster(t.Context(), cm, ""); err == nil || !strings.Contains(err.Error(), "the pod has no") {
			t.Errorf("%s without an identity: %v", provider, err)
		}
	}
}
