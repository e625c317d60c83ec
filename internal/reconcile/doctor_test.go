package reconcile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/azure/cloud"
	"github.com/sluice-gitops/sluice/internal/doctor"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

// ask calls Azure as the developer.
func (a *azure) ask(method, address string, body any) {
	a.t.Helper()
	scope := cloud.Public.ManagementScope()
	if strings.Contains(address, ".vault.azure.net/") {
		scope = cloud.Public.VaultScope()
	}
	token, err := a.dev.GetToken(a.t.Context(), policy.TokenRequestOptions{Scopes: []string{scope}})
	if err != nil {
		a.t.Fatal(err)
	}
	raw, err := json.Marshal(body)
	if err != nil {
		a.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(a.t.Context(), method, address+"?api-version=2024-11-01", bytes.NewReader(raw))
	if err != nil {
		a.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token.Token)
	req.Header.Set("Content-Type", "application/json")
	res, err := a.HTTP.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	answer, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if res.StatusCode >= 300 {
		a.t.Fatalf("%s %s: HTTP %d %s", method, address, res.StatusCode, answer)
	}
}

type fields = map[string]any

// ailing is a Kustomization whose ServiceAccount decrypts, and what a doctor sees of it.
type ailing struct {
	*azure
	k                    *Kustomization
	id                   struct{ client, principal, tenant string }
	sealed               string
	group, issuer, vault string
}

func (i *ailing) federate(issuer, subject, audience string) {
	i.ask("PUT", i.group+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/tenant/federatedIdentityCredentials/cluster",
		fields{"properties": fields{"issuer": issuer, "subject": subject, "audiences": []string{audience}}})
}

func (i *ailing) subject() string { return "system:serviceaccount:" + i.w.namespace + ":tenant" }

func (i *ailing) permit(verbs ...string) {
	i.ask("PUT", i.group+"/providers/Microsoft.KeyVault/vaults/ailing/accessPolicies/replace", fields{"properties": fields{"accessPolicies": []any{
		fields{"tenantId": i.id.tenant, "objectId": i.id.principal, "permissions": fields{"keys": verbs}},
		fields{"tenantId": i.id.tenant, "objectId": i.Env().DeveloperObjectID, "permissions": fields{"keys": []string{"all"}}},
	}}})
}

func (i *ailing) key(attributes fields) { i.ask("PATCH", i.vault, attributes) }

func (i *ailing) annotate(json string) {
	i.patch(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: i.w.namespace, Name: "tenant"}}, json)
}

func (i *ailing) patch(o client.Object, json string) {
	i.t.Helper()
	if err := i.w.client.Patch(i.t.Context(), o, client.RawPatch(types.MergePatchType, []byte(json))); err != nil {
		i.t.Fatal(err)
	}
}

func (i *ailing) spec(json string) {
	i.patch(&Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: i.w.namespace, Name: "apps"}}, `{"spec":`+json+`}`)
}

func (i *ailing) files(change func(string) string) {
	i.w.push(map[string]string{"apps/own.yaml": change(i.sealed)})
}

func (i *ailing) account(annotations string) {
	i.w.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: i.w.namespace, Name: "tenant"}})
	i.annotate(annotations)
}

func (i *ailing) whole() string {
	return fmt.Sprintf(`{"metadata":{"annotations":{%q:%q,%q:%q}}}`, annotationClient, i.id.client, annotationTenant, i.id.tenant)
}

func newAiling(t *testing.T) *ailing {
	t.Helper()
	w := newWorld(t)
	i := &ailing{azure: withAzure(t, w)}
	id := i.azure.account("tenant")
	i.id.client, i.id.principal, i.id.tenant = id.ClientID, id.PrincipalID, id.TenantID
	i.sealed = i.azure.vault("ailing", id.PrincipalID)("own")
	i.group = cloud.Public.Management() + "/subscriptions/" + i.Env().SubscriptionID + "/resourceGroups/" + azureGroup
	i.issuer, i.vault = i.Env().IssuerURL, "https://ailing.vault.azure.net/keys/sops/"+versionIn(i.sealed)
	i.permit("get", "decrypt")
	i.w.push(map[string]string{"apps/own.yaml": i.sealed})
	w.source()
	i.k = w.kustomization("apps", func(s *kustomizev1.KustomizationSpec) {
		s.Decryption = &kustomizev1.Decryption{Provider: "sops", ServiceAccountName: "tenant"}
	})
	w.until(i.k, "True", "Applied")
	return i
}

func versionIn(sealed string) string {
	_, after, _ := strings.Cut(sealed, "version: ")
	version, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(version)
}

// examine lets a doctor look at the Kustomization.
func (i *ailing) examine() *doctor.Hop {
	i.t.Helper()
	c, err := client.New(i.w.options.Config, client.Options{Scheme: doctor.Scheme()})
	if err != nil {
		i.t.Fatal(err)
	}
	r, err := doctor.Examine(i.t.Context(), doctor.Options{
		Client: c, Kustomization: client.ObjectKeyFromObject(i.k), Controller: types.NamespacedName{Namespace: i.w.namespace, Name: "kustomize-controller"},
		Azure: i.dev, Subscription: i.Env().SubscriptionID, AzureOptions: azcore.ClientOptions{Transport: i.HTTP, Retry: policy.RetryOptions{MaxRetries: -1}},
	})
	if err != nil {
		i.t.Fatal(err)
	}
	return r.Broken()
}

// told gives code and message of the newest failure that the controller has logged since offset; it is what the Ready
// condition says.
func (i *ailing) told(offset int) (code, message string) {
	for _, line := range strings.Split(i.w.log.String()[offset:], "\n") {
		var entry struct{ Msg, Kustomization, Code, Error string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "reconcile failed" && entry.Kustomization == i.w.namespace+"/apps" {
			code, message = entry.Code, entry.Error
		}
	}
	return code, message
}

// What the doctor finds broken is what the controller says in the Ready condition: the same fault, by its code, with the
// same cause and a fix.
func TestTheReadyMessageTellsWhatTheDoctorTells(t *testing.T) {
	i := newAiling(t)
	if h := i.examine(); h != nil {
		t.Fatalf("%s is broken in a healthy chain: %s", h.Name, h.Fault.Multiline())
	}
	const other = "99999999-9999-4999-8999-999999999999"
	flip := func(mark string) func(string) string {
		return func(s string) string {
			at := strings.Index(s, mark) + len(mark) + 6
			return s[:at] + map[bool]string{true: "B", false: "A"}[s[at] == 'A'] + s[at+1:]
		}
	}
	same := func(s string) string { return s }
	decryption := func(json string) func() { return func() { i.spec(`{"decryption":` + json + `}`) } }
	federated := func() { i.federate(i.issuer, i.subject(), azureAudience) }
	annotated := func() { i.annotate(i.whole()) }
	for _, c := range []struct {
		name     string
		of, undo func()
	}{
		{"no tenant annotation", func() { i.annotate(`{"metadata":{"annotations":{"` + annotationTenant + `":null}}}`) }, annotated},
		{"no ServiceAccount", func() {
			if err := i.w.client.Delete(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: i.w.namespace, Name: "tenant"}}); err != nil {
				t.Fatal(err)
			}
		}, func() { i.account(i.whole()) }},
		{"700016", func() { i.annotate(`{"metadata":{"annotations":{"` + annotationClient + `":"` + other + `"}}}`) }, annotated},
		{"90002", func() { i.annotate(`{"metadata":{"annotations":{"` + annotationTenant + `":"` + other + `"}}}`) }, annotated},
		{"a tenant that cannot be one", func() { i.annotate(`{"metadata":{"annotations":{"` + annotationTenant + `":"not a tenant"}}}`) }, annotated},
		{"70025", func() {
			i.ask("DELETE", i.group+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/tenant/federatedIdentityCredentials/cluster", nil)
		}, federated},
		{"700211", func() { i.federate(strings.TrimSuffix(i.issuer, "/"), i.subject(), azureAudience) }, federated},
		{"700212", func() { i.federate(i.issuer, i.subject(), cloud.USGovernment.Audience) }, federated},
		{"700213", func() { i.federate(i.issuer, "system:serviceaccount:x:tenant", azureAudience) }, federated},
		{"7002138", func() { i.federate(i.issuer, strings.Replace(i.subject(), "tenant", "Tenant", 1), azureAudience) }, federated},
		{"ForbiddenByPolicy", func() { i.permit("get") }, func() { i.permit("get", "decrypt") }},
		{"the vault's tenant is another", func() {
			i.ask("PATCH", i.group+"/providers/Microsoft.KeyVault/vaults/ailing", fields{"properties": fields{"tenantId": other}})
		}, func() {
			i.ask("PATCH", i.group+"/providers/Microsoft.KeyVault/vaults/ailing", fields{"properties": fields{"tenantId": i.id.tenant}})
		}},
		{"KeyDisabled", func() { i.key(fields{"attributes": fields{"enabled": false}}) }, func() { i.key(fields{"attributes": fields{"enabled": true}}) }},
		{"KeyOperationForbidden", func() { i.key(fields{"key_ops": []string{"encrypt"}}) }, func() { i.key(fields{"key_ops": []string{"encrypt", "decrypt"}}) }},
		{"KeyNotFound", func() { i.ask("DELETE", "https://ailing.vault.azure.net/keys/sops", nil) }, func() {
			i.ask("POST", "https://ailing.vault.azure.net/deletedkeys/sops/recover", fields{})
		}},
		{"a value was edited", func() { i.files(flip("password: ENC[AES256_GCM,data:")) }, func() { i.files(same) }},
		{"the MAC was edited", func() { i.files(flip("mac: ENC[AES256_GCM,data:")) }, func() { i.files(same) }},
		{"the data key was edited", func() { i.files(flip("enc: ")) }, func() { i.files(same) }},
		{"the metadata is damaged", func() {
			i.files(func(s string) string { return strings.Replace(s, `lastmodified: "`, `lastmodified: "yesterday`, 1) })
		}, func() { i.files(same) }},
		{"no decryption", decryption(`null`), decryption(`{"provider":"sops","serviceAccountName":"tenant"}`)},
		{"no decryption Secret", decryption(`{"secretRef":{"name":"keys"}}`), decryption(`{"secretRef":null}`)},
		{"no path", func() { i.spec(`{"path":"./appz"}`) }, func() { i.spec(`{"path":"./apps"}`) }},
		{"no source", func() { i.spec(`{"sourceRef":{"name":"nosuch"}}`) }, func() { i.spec(`{"sourceRef":{"name":"app"}}`) }},
		{"a pod without identity", func() {
			labels := map[string]string{"app": "kustomize-controller"}
			i.w.create(&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: i.w.namespace, Name: "kustomize-controller"}, Spec: appsv1.DeploymentSpec{
				Selector: &metav1.LabelSelector{MatchLabels: labels},
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "manager", Image: "sluice"}}}},
			}})
			i.spec(`{"decryption":{"serviceAccountName":null}}`)
		}, func() { i.spec(`{"decryption":{"serviceAccountName":"tenant"}}`) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			offset := len(i.w.log.String())
			c.of()
			h := i.examine()
			if h == nil {
				t.Fatal("the doctor finds nothing")
			}
			i.w.poke(i.k)
			cause, _, _ := strings.Cut(h.Fault.Why, ";")
			testkit.Eventually(t, 20*time.Second, func() error {
				code, message := i.told(offset)
				switch {
				case code != h.Fault.Code:
					return fmt.Errorf("the controller says %s (%s), the doctor %s: %s", code, message, h.Fault.Code, h.Fault.Multiline())
				case code != "SLU-GIT-091" && code != "SLU-SOPS-101" && !strings.Contains(message, cause) || !strings.Contains(message, "; fix: "):
					return fmt.Errorf("%s does not hold the cause %q and a fix", message, cause)
				}
				got := i.w.until(i.k, "False", "")
				if !strings.Contains(readyMessage(got), strings.SplitN(message, "; fix: ", 2)[0]) {
					return fmt.Errorf("Ready says %q, the log %q", readyMessage(got), message)
				}
				return nil
			})
			c.undo()
			i.w.poke(i.k)
			i.w.until(i.k, "True", "Applied")
		})
	}
	i.w.mustNotLeak(canary)
}
