package doctor

import (
	"bytes"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/azure/cloud"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

// heal puts everything that a test may have broken as it should be.
func (w *world) heal() {
	w.t.Helper()
	lock.Lock()
	w.sign, w.answer, w.clock, w.webhook, w.authority, w.audience = nil, nil, 0, true, "", ""
	lock.Unlock()
	w.azure.SetThrottle(nil)
	w.azure.SetIssuerBackend(w.issuer.Documents)
	w.healAzure()
	w.push(map[string]string{"secret.yaml": w.sealedIn(w.cloud), "kustomization.yaml": listed})
	for _, o := range []client.Object{w.repository(), w.kustomization(), w.account("kustomize-controller"), w.deployment()} {
		w.replace(o)
	}
	w.condition(metav1.ConditionTrue, "fetched")
	w.remove(w.account("tenant"))
	w.remove(w.pod())
	w.settle()
}

func (w *world) healAzure() {
	w.t.Helper()
	fics := w.rest("GET", w.management()+w.id.ID+"/federatedIdentityCredentials", nil)
	for _, c := range fics["value"].([]any) {
		w.rest("DELETE", w.management()+field[string](c.(object), "id"), nil)
	}
	w.federation("flux", w.azure.Env().IssuerURL, w.subject(), cloud.TokenExchange)
	w.cluster(true, true)
	w.vault()
	deleted := w.rest("GET", "https://sample.vault.azure.net/deletedkeys", nil)
	if len(deleted["value"].([]any)) > 0 {
		w.rest("POST", "https://sample.vault.azure.net/deletedkeys/sops/recover", nil)
	}
	w.rest("PATCH", w.key.String(), object{"attributes": object{"enabled": true}, "key_ops": []string{"encrypt", "decrypt"}})
}

func (w *world) subject() string { return "system:serviceaccount:" + w.ns + ":kustomize-controller" }

func (w *world) federation(name, issuer, subject, audience string) {
	w.t.Helper()
	w.rest("PUT", w.management()+w.id.ID+"/federatedIdentityCredentials/"+name, object{"properties": object{
		"issuer": issuer, "subject": subject, "audiences": []string{audience},
	}})
}

func (w *world) unfederate(name string) {
	w.t.Helper()
	w.rest("DELETE", w.management()+w.id.ID+"/federatedIdentityCredentials/"+name, nil)
}

// cluster puts the managed cluster; the issuer of one that is there cannot be switched off.
func (w *world) cluster(oidc, workload bool) {
	w.t.Helper()
	if !oidc {
		w.rest("DELETE", w.group()+clusterPath, nil)
		testkit.Eventually(w.t, 20*time.Second, func() error {
			all := w.rest("GET", w.group()+"/providers/Microsoft.ContainerService/managedClusters", nil)
			if n := len(all["value"].([]any)); n > 0 {
				return fmt.Errorf("%d clusters are left", n)
			}
			return nil
		})
	}
	w.rest("PUT", w.group()+clusterPath, object{"location": "westeurope", "properties": object{
		"dnsPrefix": "aks", "oidcIssuerProfile": object{"enabled": oidc}, "securityProfile": object{"workloadIdentity": object{"enabled": workload}},
		"agentPoolProfiles": []any{object{"name": "system", "mode": "System", "count": 1, "vmSize": "Standard_D2s_v5"}},
	}, "identity": object{"type": "SystemAssigned"}})
}

func (w *world) replace(o client.Object) {
	w.t.Helper()
	have := o.DeepCopyObject().(client.Object)
	switch err := w.client.Get(w.t.Context(), client.ObjectKeyFromObject(o), have); {
	case apierrors.IsNotFound(err):
		w.must(w.client.Create(w.t.Context(), o))
	case err != nil:
		w.t.Fatal(err)
	default:
		o.SetResourceVersion(have.GetResourceVersion())
		w.must(w.client.Update(w.t.Context(), o))
	}
}

func (w *world) remove(o client.Object) {
	w.t.Helper()
	w.must(client.IgnoreNotFound(w.client.Delete(w.t.Context(), o, client.GracePeriodSeconds(0))))
}

func (w *world) deployment() *appsv1.Deployment {
	labels := map[string]string{"app": "kustomize-controller"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "kustomize-controller"},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "kustomize-controller", useLabel: "true"}},
				Spec: corev1.PodSpec{ServiceAccountName: "kustomize-controller",
					Containers: []corev1.Container{{Name: "manager", Image: "sluice"}}},
			},
		},
	}
}

// edit changes a live object.
func edit[T client.Object](w *world, o T, change func(T)) {
	w.t.Helper()
	w.must(w.client.Get(w.t.Context(), client.ObjectKeyFromObject(o), o))
	change(o)
	w.must(w.client.Update(w.t.Context(), o))
}

func (w *world) pod() *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "kustomize-controller-0"}}
}

// settle does what the Deployment controller, the webhook and the kubelet do: a changed template gets a new pod, and a
// new pod gets identity and token as they are now.
func (w *world) settle() {
	w.t.Helper()
	d := w.deployment()
	w.must(w.client.Get(w.t.Context(), client.ObjectKeyFromObject(d), d))
	raw, err := json.Marshal([]any{d.Spec.Template.ObjectMeta, d.Spec.Template.Spec.Containers[0].Env})
	w.must(err)
	have := w.pod()
	err = w.client.Get(w.t.Context(), client.ObjectKeyFromObject(have), have)
	if err == nil && have.Annotations["template"] == string(raw) {
		return
	}
	w.remove(w.pod())
	p := w.pod()
	p.Labels, p.Annotations, p.Spec = d.Spec.Template.Labels, map[string]string{"template": string(raw)}, *d.Spec.Template.Spec.DeepCopy()
	sa := w.account("kustomize-controller")
	w.must(w.client.Get(w.t.Context(), client.ObjectKeyFromObject(sa), sa))
	if w.webhook && p.Labels[useLabel] == "true" {
		w.inject(p, sa.Annotations[clientAnnotation], sa.Annotations[tenantAnnotation])
	}
	w.must(w.client.Create(w.t.Context(), p))
	p.Status.Phase = corev1.PodRunning
	w.must(w.client.Status().Update(w.t.Context(), p))
	lock.Lock()
	w.sign = nil // the kubelet asks for a new token
	lock.Unlock()
}

// inject does to a new pod what the workload identity webhook does: variables that are there already stay.
func (w *world) inject(p *corev1.Pod, clientID, tenant string) {
	if tenant == "" {
		tenant = w.id.TenantID
	}
	authority, audience := w.cloud.Authority, w.audience
	if w.authority != "" {
		authority = w.authority
	}
	if audience == "" {
		audience = cloud.TokenExchange
	}
	life := int64(3600)
	const dir = "/var/run/secrets/azure/wi/token"
	c := &p.Spec.Containers[0]
	if w.authority == "none" {
		authority = ""
	}
	for _, v := range [][2]string{{envClient, clientID}, {envTenant, tenant}, {envTokenFile, dir + "/azure-identity-token"}, {envAuthority, authority}} {
		if v[1] != "" && !slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == v[0] }) {
			c.Env = append(c.Env, corev1.EnvVar{Name: v[0], Value: v[1]})
		}
	}
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "azure-identity-token", MountPath: dir, ReadOnly: true})
	p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "azure-identity-token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: audience, ExpirationSeconds: &life, Path: "azure-identity-token"}}},
	}}})
}

// token signs a token of the API server's anew, as the emulated cluster.
func (w *world) token(real string) string {
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(real, &claims); err != nil {
		w.t.Error(err)
		return ""
	}
	claims["iss"] = w.azure.Env().IssuerURL
	header := object{"kid": "k1"}
	lock.Lock()
	sign := w.sign
	lock.Unlock()
	if sign != nil {
		return sign(header, claims, w.issuer.Key)
	}
	return signed(header, object(claims), w.issuer.Key)
}

func signed(header, claims object, key *rsa.PrivateKey) string {
	t := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims(claims))
	for k, v := range header {
		t.Header[k] = v
	}
	s, err := t.SignedString(key)
	if err != nil {
		panic(err)
	}
	return s
}

// answered is an HTTP response with a JSON body.
func answered(status int, body any) *http.Response {
	raw, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(raw)),
	}
}

// refusing has Entra ID refuse every exchange of an assertion with a code.
func refusing(status, code int, oauth string) func(*http.Request) *http.Response {
	return func(r *http.Request) *http.Response {
		if !strings.HasSuffix(r.URL.Path, "/oauth2/v2.0/token") || r.Body == nil {
			return nil
		}
		form, err := io.ReadAll(r.Body)
		if err != nil {
			panic(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(form))
		if !bytes.Contains(form, []byte("client_assertion=")) {
			return nil
		}
		return answered(status, object{"error": oauth, "error_codes": []int{code},
			"error_description": fmt.Sprintf("AADSTS%d: Refused by the test. Trace ID: x", code)})
	}
}

// bind puts the pod onto a node, as the scheduler does.
func (w *world) bind(node string) {
	w.t.Helper()
	w.must(w.client.SubResource("binding").Create(w.t.Context(), w.pod(), &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: node}}))
}
