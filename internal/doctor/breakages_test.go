package doctor

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"net/http"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/azure/cloud"
	"github.com/sluice-gitops/sluice/internal/emulator/keyvault"
	"github.com/sluice-gitops/sluice/internal/fault"
)

// breakage is one way to break the chain, and what the doctor must say to it.
type breakage struct {
	name  string
	rbac  bool        // the vault is in RBAC mode
	cloud cloud.Cloud // the zero value: the public one
	of    func(*world)
	hop   string // that must be named, and no other
	says  string // part of what was seen or of the cause
	fix   string // part of the command
	exit  int
	undo  func(*world)   // what the printed fix asks a person to do, where it has no structured form
	alone func(*Options) // looks with other eyes
	then  string         // the second hop of a pair, found once the first is mended
	safe  bool           // --fix would mend it
}

func (b breakage) in() cloud.Cloud {
	if b.cloud.Name == "" {
		return cloud.Public
	}
	return b.cloud
}

// other is a GUID that nobody has.
const other = "99999999-9999-4999-8999-999999999999"

func (w *world) annotation(key, value string) {
	edit(w, w.account("kustomize-controller"), func(sa *corev1.ServiceAccount) { sa.Annotations[key] = value })
}

// renew starts a new pod with what Deployment and ServiceAccount say now, as every rollout would.
func (w *world) renew() {
	w.remove(w.pod())
	w.settle()
}

func (w *world) template(change func(*corev1.PodTemplateSpec)) {
	edit(w, w.deployment(), func(d *appsv1.Deployment) { change(&d.Spec.Template) })
	w.settle()
}

func (w *world) permissions(verbs ...string) {
	v := w.azure.Env()
	w.rest("PUT", w.group()+vaultPath+"/accessPolicies/replace", object{"properties": object{"accessPolicies": []any{
		object{"tenantId": v.TenantID, "objectId": w.id.PrincipalID, "permissions": object{"keys": verbs}},
	}}})
}

func (w *world) signing(f func(header, claims object, key *rsa.PrivateKey) string) {
	lock.Lock()
	w.sign = f
	lock.Unlock()
}

func git(f func(*sourcev1.GitRepository)) func(*world) {
	return func(w *world) { edit(w, w.repository(), f) }
}

func kustomization(f func(*kustomizev1.Kustomization)) func(*world) {
	return func(w *world) { edit(w, w.kustomization(), f) }
}

func healed(w *world) { w.heal() }

// vaultAnswers has the vault itself answer everything with a status and body, as azure-protocol.md, section 2 has them.
func vaultAnswers(status int, code, inner, message string, afterChallenge bool) func(*world) {
	return func(w *world) {
		w.answer = func(r *http.Request) *http.Response {
			if !strings.HasSuffix(r.URL.Hostname(), ".vault.azure.net") || afterChallenge && r.Header.Get("Authorization") == "" {
				return nil
			}
			return answered(status, object{"error": object{"code": code, "message": message, "innererror": object{"code": inner}}})
		}
	}
}

func tampered(w *world, change func(string) string) {
	w.push(map[string]string{"secret.yaml": change(w.sealed), "kustomization.yaml": listed})
}

// Section by section of the walk.
var breakages = []breakage{
	// Git.
	{name: "the source does not exist", hop: "source", says: "does not exist", fix: "sluice get sources git", exit: fault.ExitGit, undo: healed,
		of: kustomization(func(k *kustomizev1.Kustomization) { k.Spec.SourceRef.Name = "nosuch" })},
	{name: "the remote's repository is gone", hop: "source", says: "repository", exit: fault.ExitGit, undo: healed,
		of: git(func(r *sourcev1.GitRepository) { r.Spec.URL = strings.Replace(r.Spec.URL, "app.git", "gone.git", 1) })},
	{name: "the remote refuses connections", hop: "source", says: "refused", exit: fault.ExitGit, undo: healed,
		of: git(func(r *sourcev1.GitRepository) { r.Spec.URL = "http://127.0.0.1:1/app.git" })},
	{name: "the branch does not exist", hop: "source", says: "nosuch", exit: fault.ExitGit, undo: healed,
		of: git(func(r *sourcev1.GitRepository) { r.Spec.Reference.Branch = "nosuch" })},
	{name: "the controller cannot fetch what is reachable from here", hop: "source", says: "authentication required", fix: "sluice reconcile source git app", exit: fault.ExitGit, undo: healed,
		of: func(w *world) { w.condition(metav1.ConditionFalse, "authentication required") }},
	{name: "spec.path is not in the revision", hop: "path", says: "appz", exit: fault.ExitNo, undo: healed,
		of: kustomization(func(k *kustomizev1.Kustomization) { k.Spec.Path = "./appz" })},
	// The files.
	{name: "the sops metadata is damaged", hop: "sops files", says: "sops metadata", fix: "git checkout", exit: fault.ExitKey, undo: healed,
		of: func(w *world) {
			tampered(w, func(s string) string { return strings.Replace(s, "lastmodified: \"", "lastmodified: \"yesterday", 1) })
		}},
	{name: "a recipient is no Key Vault", hop: "sops files", says: "not a key of an Azure Key Vault", exit: fault.ExitKey, undo: healed,
		of: func(w *world) {
			tampered(w, func(s string) string { return strings.Replace(s, "sample.vault.azure.net", "vault.example.com", 1) })
		}},
	{name: "a value was edited without sops", hop: "document", says: "cannot be decrypted", fix: "git checkout", exit: fault.ExitKey, undo: healed,
		of: func(w *world) { tampered(w, flip("password: ENC[AES256_GCM,data:")) }},
	{name: "the MAC was edited", hop: "document", says: "MAC", fix: "git checkout", exit: fault.ExitKey, undo: healed,
		of: func(w *world) { tampered(w, flip("mac: ENC[AES256_GCM,data:")) }},
	{name: "the MAC line was cut out", hop: "document", says: "no MAC", fix: "git checkout", exit: fault.ExitKey, undo: healed,
		of: func(w *world) {
			tampered(w, func(s string) string {
				at := strings.Index(s, "    mac: ")
				return s[:at] + s[at+strings.Index(s[at:], "\n")+1:]
			})
		}},
	{name: "the wrapped data key was edited", hop: "unwrap", says: "enc was changed", exit: fault.ExitKey, undo: healed,
		of: func(w *world) { tampered(w, flip("enc: ")) }},
	// The cluster.
	{name: "spec.decryption is missing", hop: "decryption", says: "no decryption configured", fix: "kubectl patch kustomization", exit: fault.ExitKey,
		of: kustomization(func(k *kustomizev1.Kustomization) { k.Spec.Decryption = nil })},
	{name: "the decryption Secret is missing", hop: "decryption", says: "does not exist", fix: "kubectl create secret generic", exit: fault.ExitKey, undo: healed,
		of: kustomization(func(k *kustomizev1.Kustomization) {
			k.Spec.Decryption.SecretRef = &meta.LocalObjectReference{Name: "sops-age"}
		})},
	{name: "the controller's Deployment is missing", hop: "deployment", says: "cannot be read", fix: "--controller-namespace", exit: fault.ExitCluster, undo: healed,
		of: func(w *world) { w.remove(w.deployment()) }},
	{name: "the pod template lacks the label", hop: "deployment", says: "no label azure.workload.identity/use", fix: "kubectl patch deployment", exit: fault.ExitSignIn, safe: true,
		of: func(w *world) { w.template(func(t *corev1.PodTemplateSpec) { delete(t.Labels, useLabel) }) }},
	{name: "the label is on the ServiceAccount instead of the pod", hop: "deployment", says: "the ServiceAccount has it, where it has no effect", fix: "kubectl patch deployment", exit: fault.ExitSignIn, safe: true,
		of: func(w *world) {
			edit(w, w.account("kustomize-controller"), func(sa *corev1.ServiceAccount) { sa.Labels = map[string]string{useLabel: "true"} })
			w.template(func(t *corev1.PodTemplateSpec) { delete(t.Labels, useLabel) })
		}},
	{name: "the label's value is not \"true\"", hop: "deployment", says: `is "yes"`, fix: "kubectl patch deployment", exit: fault.ExitSignIn, safe: true,
		of: func(w *world) { w.template(func(t *corev1.PodTemplateSpec) { t.Labels[useLabel] = "yes" }) }},
	{name: "the ServiceAccount lacks the client id", hop: "service account", says: "azure.workload.identity/client-id", fix: "kubectl annotate serviceaccount", exit: fault.ExitSignIn, safe: true,
		of: func(w *world) {
			edit(w, w.account("kustomize-controller"), func(sa *corev1.ServiceAccount) { delete(sa.Annotations, clientAnnotation) })
		}},
	{name: "a ServiceAccount of the Kustomization's own lacks the tenant id", hop: "service account", says: "azure.workload.identity/tenant-id", fix: "kubectl annotate serviceaccount", exit: fault.ExitSignIn, safe: true,
		of: func(w *world) {
			w.tenant()
			edit(w, w.account("tenant"), func(sa *corev1.ServiceAccount) { delete(sa.Annotations, tenantAnnotation) })
		}},
	{name: "the ServiceAccount is missing", hop: "service account", says: "not found", fix: "kubectl create serviceaccount", exit: fault.ExitSignIn,
		undo: healed, of: func(w *world) { w.remove(w.account("kustomize-controller")) }},
	{name: "the tenant id cannot be one", hop: "service account", says: "letters, digits", fix: "kubectl annotate serviceaccount", exit: fault.ExitSignIn, safe: true, then: "pod",
		of: func(w *world) { w.annotation(tenantAnnotation, "not a tenant"); w.renew() }},
	{name: "the annotation holds the principal id", hop: "managed identity", says: "the principal (object) id", fix: "kubectl annotate serviceaccount", exit: fault.ExitSignIn, safe: true, then: "pod",
		of: func(w *world) { w.annotation(clientAnnotation, w.id.PrincipalID); w.renew() }},
	{name: "AADSTS700016: the client id is nobody's", hop: "managed identity", says: "AADSTS700016", fix: "kubectl annotate serviceaccount", exit: fault.ExitSignIn, safe: true, then: "pod",
		of: func(w *world) { w.annotation(clientAnnotation, other); w.renew() }},
	{name: "AADSTS90002: Entra ID does not know the tenant", hop: "managed identity", says: "AADSTS90002", fix: "kubectl annotate serviceaccount", exit: fault.ExitSignIn, undo: healed,
		alone: func(o *Options) { o.Azure = nil },
		of:    func(w *world) { w.answer = refusing(400, 90002, "invalid_tenant") }},
	{name: "the tenant is another", hop: "managed identity", says: "signs in to its own tenant", fix: "kubectl annotate serviceaccount", exit: fault.ExitSignIn, safe: true, then: "pod",
		of: func(w *world) { w.annotation(tenantAnnotation, other); w.renew() }},
	{name: "the pod was started before the label", hop: "pod", says: "before the pod template got the label", fix: "kubectl rollout restart", exit: fault.ExitSignIn, safe: true,
		of: func(w *world) {
			edit(w, w.livePod(), func(p *corev1.Pod) { delete(p.Labels, useLabel); p.Labels["app"] = "kustomize-controller" })
		}},
	{name: "the pod was started before the annotation", hop: "pod", says: "AZURE_CLIENT_ID", fix: "kubectl rollout restart", exit: fault.ExitSignIn, safe: true,
		of: func(w *world) { w.webhook = false; w.renew(); w.webhook = true }},
	{name: "the pod has the client id of before", hop: "pod", says: "changed after the pod was started", fix: "kubectl rollout restart", exit: fault.ExitSignIn, safe: true,
		of: func(w *world) {
			w.annotation(clientAnnotation, other)
			w.renew()
			w.annotation(clientAnnotation, w.id.ClientID)
		}},
	{name: "no pod is running", hop: "pod", says: "no pod of it is running", fix: "kubectl describe pods", exit: fault.ExitSignIn, undo: healed,
		of: func(w *world) { w.remove(w.pod()) }},
	{name: "workload identity is off on the cluster", hop: "pod", says: "workload identity is off", fix: "az aks update -g rg -n aks --enable-oidc-issuer --enable-workload-identity", exit: fault.ExitSignIn, then: "pod",
		of: func(w *world) { w.cluster(true, false); w.webhook = false; w.renew(); w.webhook = true }},
	{name: "the pod was started by a webhook of another cloud", hop: "pod", says: "no token of audience api://AzureADTokenExchange is mounted", fix: "kubectl rollout restart", exit: fault.ExitSignIn, safe: true,
		of: func(w *world) { w.audience = cloud.China.Audience; w.renew(); w.audience = "" }},
	// Another cloud than the vault's.
	{name: "Azure Government: AZURE_AUTHORITY_HOST of the Deployment is the public cloud's", cloud: cloud.USGovernment, hop: "pod", says: "which means AzureCloud; the vault is in AzureUSGovernment",
		fix: "kubectl set env -n", exit: fault.ExitSignIn, safe: true,
		of: func(w *world) {
			w.template(func(t *corev1.PodTemplateSpec) {
				t.Spec.Containers[0].Env = []corev1.EnvVar{{Name: envAuthority, Value: cloud.Public.Authority}}
			})
		}},
	{name: "Azure China: the pod has no AZURE_AUTHORITY_HOST", cloud: cloud.China, hop: "pod", says: "AZURE_AUTHORITY_HOST is not set, which means AzureCloud; the vault is in AzureChinaCloud",
		fix: "AZURE_AUTHORITY_HOST=https://login.chinacloudapi.cn/", exit: fault.ExitSignIn, safe: true,
		of: func(w *world) { w.authority = "none"; w.renew() }},
	{name: "Azure Government: the cluster is in the public cloud, the vault is not", cloud: cloud.USGovernment, hop: "pod", says: "the cluster is in AzureCloud",
		fix: "sluice secrets updatekeys", exit: fault.ExitSignIn, undo: healed,
		of: func(w *world) { w.authority = cloud.Public.Authority; w.renew() }},
	// The token and its issuer.
	{name: "the OIDC issuer is off", hop: "issuer", says: "is off", fix: "az aks update -g rg -n aks --enable-oidc-issuer --enable-workload-identity", exit: fault.ExitSignIn,
		of: func(w *world) { w.cluster(false, false) }},
	{name: "AADSTS50027: the token's signature is not the cluster's", hop: "token", says: "AADSTS50027", fix: "kubectl rollout restart", exit: fault.ExitSignIn, safe: true,
		of: func(w *world) {
			stranger, err := rsa.GenerateKey(rand.Reader, 2048)
			w.must(err)
			w.signing(func(h, c object, _ *rsa.PrivateKey) string { return signed(h, c, stranger) })
		}},
	{name: "AADSTS700024: the token has expired", hop: "token", says: "AADSTS700024", fix: "kubectl rollout restart", exit: fault.ExitSignIn, safe: true,
		of: expired},
	{name: "the token is no JSON Web Token", hop: "token", says: "does not hold a JSON Web Token", fix: "kubectl rollout restart", exit: fault.ExitSignIn, safe: true,
		of: func(w *world) { w.signing(func(object, object, *rsa.PrivateKey) string { return "garbage" }) }},
	{name: "the token is for another audience", hop: "token", says: "https://kubernetes.default.svc", fix: "kubectl rollout restart", exit: fault.ExitSignIn, safe: true,
		of: func(w *world) {
			w.signing(func(h, c object, k *rsa.PrivateKey) string {
				c["aud"] = []string{"https://kubernetes.default.svc"}
				return signed(h, c, k)
			})
		}},
	{name: "AADSTS7000272: the token's key is not published", hop: "issuer", says: "AADSTS7000272", fix: "kubectl rollout restart", exit: fault.ExitSignIn, safe: true,
		of: func(w *world) {
			w.signing(func(h, c object, k *rsa.PrivateKey) string { h["kid"] = "k0"; return signed(h, c, k) })
		}},
	{name: "AADSTS501661: the issuer's documents cannot be fetched", hop: "issuer", says: "AADSTS501661", fix: "az aks update", exit: fault.ExitSignIn, undo: healed,
		of: func(w *world) {
			w.azure.SetIssuerBackend(func(context.Context, string) ([]byte, error) { return nil, errors.New("away") })
			w.signing(func(h, c object, k *rsa.PrivateKey) string {
				h["kid"] = "k" + time.Now().String()
				return signed(h, c, k)
			})
		}},
	{name: "AADSTS50166: the issuer's discovery fails", hop: "issuer", says: "AADSTS50166", fix: "az aks update", exit: fault.ExitSignIn, undo: healed,
		of: func(w *world) { w.answer = refusing(400, 50166, "invalid_request") }},
	{name: "AADSTS90061: the issuer's keys cannot be had", hop: "issuer", says: "AADSTS90061", fix: "az aks update", exit: fault.ExitSignIn, undo: healed,
		of: func(w *world) { w.answer = refusing(400, 90061, "invalid_request") }},
	{name: "AADSTS700024: the token of a ServiceAccount of the Kustomization's own has expired", hop: "token", says: "AADSTS700024", fix: "kubectl create token -n", exit: fault.ExitSignIn, undo: healed,
		of: func(w *world) { w.tenant(); expired(w) }},
	{name: "AADSTS7000272: the key of a token of the Kustomization's own ServiceAccount is not published", hop: "issuer", says: "AADSTS7000272", fix: "kubectl get --raw /openid/v1/jwks", exit: fault.ExitSignIn, undo: healed,
		of: func(w *world) {
			w.tenant()
			w.signing(func(h, c object, k *rsa.PrivateKey) string { h["kid"] = "k0"; return signed(h, c, k) })
		}},
	// The federated credential.
	{name: "AADSTS70025: the identity has no federated credential", hop: "federated credential", says: "no federated credential", fix: "az identity federated-credential create -g rg --identity-name flux", exit: fault.ExitSignIn, safe: true,
		of: func(w *world) { w.unfederate("flux") }},
	{name: "AADSTS700211: the issuer lacks its trailing slash", hop: "federated credential", says: "a trailing slash", fix: "az identity federated-credential update -g rg --identity-name flux -n flux", exit: fault.ExitSignIn, safe: true,
		of: func(w *world) {
			w.federation("flux", strings.TrimSuffix(w.azure.Env().IssuerURL, "/"), w.subject(), cloud.TokenExchange)
		}},
	{name: "AADSTS700211: the cluster was made anew", hop: "federated credential", says: "another value", fix: "az identity federated-credential create", exit: fault.ExitSignIn, safe: true,
		of: func(w *world) {
			w.federation("flux", "https://westeurope.oic.prod-aks.azure.com/"+w.id.TenantID+"/"+other+"/", w.subject(), cloud.TokenExchange)
		}},
	{name: "AADSTS700212: the credential's audience is another", hop: "federated credential", says: "audience", fix: "az identity federated-credential update", exit: fault.ExitSignIn, safe: true,
		of: func(w *world) {
			w.federation("flux", w.azure.Env().IssuerURL, w.subject(), "api://AzureADTokenExchangeChina")
		}},
	{name: "AADSTS700212 in Azure Government: the credential has the cloud's audience, the token AKS's", cloud: cloud.USGovernment, hop: "federated credential", says: "audience api://AzureADTokenExchangeUSGov, the token api://AzureADTokenExchange",
		fix: "az cloud set --name AzureUSGovernment && az identity federated-credential update", exit: fault.ExitSignIn, safe: true,
		of: func(w *world) {
			w.federation("flux", w.azure.Env().IssuerURL, w.subject(), cloud.USGovernment.Audience)
		}},
	{name: "AADSTS700212 in Azure China: the token has the cloud's audience, the credential AKS's", cloud: cloud.China, hop: "federated credential", says: "audience api://AzureADTokenExchange, the token api://AzureADTokenExchangeChina",
		fix: "--audiences api://AzureADTokenExchangeChina", exit: fault.ExitSignIn, safe: true,
		of: func(w *world) { w.audience = cloud.China.Audience; w.renew() }},
	{name: "AADSTS700213: the credential's namespace is another", hop: "federated credential", says: "the namespace", fix: "az identity federated-credential create", exit: fault.ExitSignIn, safe: true,
		of: func(w *world) {
			w.federation("flux", w.azure.Env().IssuerURL, "system:serviceaccount:gitops:kustomize-controller", cloud.TokenExchange)
		}},
	{name: "AADSTS700213: the credential's ServiceAccount is another", hop: "federated credential", says: "the ServiceAccount's name", fix: "az identity federated-credential create", exit: fault.ExitSignIn, safe: true,
		of: func(w *world) {
			w.federation("flux", w.azure.Env().IssuerURL, "system:serviceaccount:"+w.ns+":source-controller", cloud.TokenExchange)
		}},
	{name: "AADSTS7002138: the credential's subject differs in case", hop: "federated credential", says: "letter case", fix: "az identity federated-credential update", exit: fault.ExitSignIn, safe: true,
		of: func(w *world) {
			w.federation("flux", w.azure.Env().IssuerURL, strings.Replace(w.subject(), "kustomize", "Kustomize", 1), cloud.TokenExchange)
		}},
	{name: "AADSTS70021: the credential was made a moment ago", hop: "exchange", says: "has not reached every region yet", fix: "wait some minutes", exit: fault.ExitSignIn, undo: healed,
		of: func(w *world) { w.answer = refusing(401, 70021, "invalid_client") }},
	{name: "AADSTS500011: the vault's resource is unknown in the tenant", hop: "exchange", says: "AADSTS500011", fix: "az keyvault list", exit: fault.ExitSignIn, undo: healed,
		of: func(w *world) { w.answer = refusing(400, 500011, "invalid_resource") }},
	{name: "a code that nobody has met yet", hop: "exchange", says: "AADSTS99999999", fix: "https://login.microsoftonline.com/error?code=99999999", exit: fault.ExitSignIn, undo: healed,
		of: func(w *world) { w.answer = refusing(400, 99999999, "invalid_request") }},
	{name: "Entra ID is unavailable", hop: "exchange", says: "HTTP 503", fix: "curl", exit: fault.ExitSignIn, undo: healed,
		of: func(w *world) {
			refuse := refusing(503, 1, "temporarily_unavailable")
			w.answer = func(r *http.Request) *http.Response {
				if res := refuse(r); res != nil {
					_ = res.Body.Close()
					return &http.Response{StatusCode: 503, Status: "503", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody}
				}
				return nil
			}
		}},
	// The vault.
	{name: "the vault was deleted", hop: "vault", says: "was deleted and can be recovered", fix: "az keyvault recover -n sample", exit: fault.ExitKey,
		of: func(w *world) { w.rest("DELETE", w.group()+vaultPath, nil) }},
	{name: "the vault's tenant is another", hop: "vault", says: "the vault belongs to tenant", fix: "az keyvault update -g rg -n sample --set properties.tenantId=", exit: fault.ExitKey,
		of: func(w *world) {
			w.rest("PATCH", w.group()+vaultPath, object{"properties": object{"tenantId": other}})
		}},
	{name: "AKV10032: the vault trusts another issuer", hop: "vault", says: "AKV10032", fix: "az keyvault update", exit: fault.ExitKey, undo: healed,
		of: akv("AKV10032: Invalid issuer. Expected one of https://sts.windows.net/x/, found https://sts.windows.net/y/.")},
	{name: "AKV10022: the access token is for another audience", hop: "vault", says: "different clouds", fix: "az keyvault show", exit: fault.ExitKey, undo: healed,
		of: akv("AKV10022: Invalid audience. Expected https://vault.azure.net, found: https://graph.microsoft.com.")},
	{name: "ForbiddenByFirewall: the network rules do not admit the pod", hop: "vault", says: "ForbiddenByFirewall", fix: "az keyvault network-rule add -n sample --ip-address 203.0.113.7", exit: fault.ExitKey, undo: healed,
		of: vaultAnswers(403, "Forbidden", "ForbiddenByFirewall", "Client address is not authorized and caller is not a trusted service. Client address: 203.0.113.7", true)},
	{name: "the vault's name does not resolve", hop: "vault", says: "no vault of that name", fix: "az keyvault list", exit: fault.ExitKey, undo: healed,
		of: func(w *world) {
			tampered(w, func(s string) string {
				return strings.Replace(s, "sample.vault.azure.net", "nosuch-vault.vault.azure.net", 1)
			})
		}},
	{name: "something else answers in the vault's place", hop: "vault", says: "did not answer as a Key Vault does", exit: fault.ExitKey, undo: healed,
		of: vaultAnswers(200, "", "", "", false)},
	{name: "ForbiddenByPolicy: the policy lacks decrypt", hop: "access", says: "ForbiddenByPolicy", fix: "az keyvault set-policy -n sample --object-id", exit: fault.ExitKey,
		of: func(w *world) { w.permissions("get") }},
	{name: "ForbiddenByPolicy in Azure China: the policy lacks decrypt", cloud: cloud.China, hop: "access", says: "ForbiddenByPolicy", fix: "az cloud set --name AzureChinaCloud && az keyvault set-policy -n sample --object-id", exit: fault.ExitKey,
		of: func(w *world) { w.permissions("get") }},
	{name: "ForbiddenByPolicy: the policy names the client id", hop: "access", says: "where its principal id belongs", fix: "az keyvault set-policy", exit: fault.ExitKey,
		of: func(w *world) {
			w.permissions()
			w.rest("PUT", w.group()+vaultPath+"/accessPolicies/add", object{"properties": object{"accessPolicies": []any{
				object{"tenantId": w.id.TenantID, "objectId": w.id.ClientID, "permissions": object{"keys": []string{"get", "decrypt"}}}}}})
		}},
	{name: "ForbiddenByRbac: the identity has no role", rbac: true, hop: "access", says: "ForbiddenByRbac", fix: "az role assignment create", exit: fault.ExitKey,
		of: func(w *world) { w.unrole(w.id.PrincipalID) }},
	{name: "ForbiddenByRbac: the role gives reading alone", rbac: true, hop: "access", says: "ForbiddenByRbac", fix: "Key Vault Crypto User", exit: fault.ExitKey,
		of: func(w *world) {
			w.unrole(w.id.PrincipalID)
			w.role(w.id.PrincipalID, "21090545-7ca7-4776-b22c-e363652d74d2")
		}},
	{name: "ForbiddenByRbac: a policy in a vault of the other mode", rbac: true, hop: "access", says: "does not count in this mode", fix: "az role assignment create", exit: fault.ExitKey,
		of: func(w *world) {
			w.unrole(w.id.PrincipalID)
			w.permissions("get", "decrypt")
		}},
	{name: "KeyNotFound: the key was deleted", hop: "key", says: "no such key or version", fix: "az keyvault key recover --vault-name sample -n sops", exit: fault.ExitKey,
		of: func(w *world) { w.rest("DELETE", "https://sample.vault.azure.net/keys/sops", nil) }},
	{name: "KeyDisabled: the version is disabled", hop: "key", says: "is disabled", fix: "az keyvault key set-attributes --vault-name sample -n sops --version", exit: fault.ExitKey,
		of: func(w *world) { w.rest("PATCH", w.key.String(), object{"attributes": object{"enabled": false}}) }},
	{name: "KeyOperationForbidden: the key's operations lack decrypt", hop: "key", says: "does not hold decrypt", fix: "--ops encrypt decrypt", exit: fault.ExitKey,
		of: func(w *world) { w.rest("PATCH", w.key.String(), object{"key_ops": []string{"encrypt"}}) }},
	{name: "ObjectIsDeletedButRecoverable: a deleted key of the name waits in the vault", hop: "key", says: "waits in the vault", fix: "az keyvault key recover --vault-name sample -n sops", exit: fault.ExitKey, undo: healed,
		of: vaultAnswers(409, "Conflict", "ObjectIsDeletedButRecoverable", "Key sops is currently in a deleted but recoverable state, and its name cannot be reused.", true)},
	{name: "Unauthorized: the vault takes no token", hop: "vault", says: "does not accept the token", fix: "az keyvault update", exit: fault.ExitKey, undo: healed,
		of: akv("Request is missing a Bearer or PoP token.")},
	{name: "Throttled: too many requests", hop: "unwrap", says: "request limit", exit: fault.ExitKey, undo: healed,
		of: func(w *world) {
			w.azure.SetThrottle(func(string, string) *keyvault.Throttle { return &keyvault.Throttle{} })
		}},
	// In pairs: the first is named, and once it is mended, the second.
	{name: "label and federated credential", hop: "deployment", then: "federated credential", exit: fault.ExitSignIn, safe: true,
		of: func(w *world) {
			w.template(func(t *corev1.PodTemplateSpec) { delete(t.Labels, useLabel) })
			w.unfederate("flux")
		}},
	{name: "federated credential and access policy", hop: "federated credential", then: "access", exit: fault.ExitSignIn, safe: true,
		of: func(w *world) { w.unfederate("flux"); w.permissions("get") }},
	{name: "access policy and disabled key", hop: "access", then: "key", exit: fault.ExitKey,
		of: func(w *world) {
			w.permissions("get")
			w.rest("PATCH", w.key.String(), object{"attributes": object{"enabled": false}})
		}},
	{name: "decryption and key operations", hop: "decryption", then: "key", exit: fault.ExitKey,
		of: func(w *world) {
			kustomization(func(k *kustomizev1.Kustomization) { k.Spec.Decryption = nil })(w)
			w.rest("PATCH", w.key.String(), object{"key_ops": []string{"encrypt"}})
		}},
}

// expired has the cluster make tokens that ran out an hour ago.
func expired(w *world) {
	w.signing(func(h, c object, k *rsa.PrivateKey) string {
		began, ended := float64(time.Now().Add(-2*time.Hour).Unix()), float64(time.Now().Add(-time.Hour).Unix())
		c["iat"], c["nbf"], c["exp"] = began, began, ended
		return signed(h, c, k)
	})
}

func akv(message string) func(*world) {
	return func(w *world) {
		w.answer = func(r *http.Request) *http.Response {
			if !strings.HasSuffix(r.URL.Hostname(), ".vault.azure.net") || r.Header.Get("Authorization") == "" {
				return nil
			}
			res := answered(401, object{"error": object{"code": "Unauthorized", "message": message}})
			res.Header.Set("WWW-Authenticate", `Bearer authorization="https://login.microsoftonline.com/`+w.id.TenantID+`", resource="https://vault.azure.net"`)
			return res
		}
	}
}

// flip changes one character of base64 a little after mark.
func flip(mark string) func(string) string {
	return func(s string) string {
		at := strings.Index(s, mark) + len(mark) + 6
		c := byte('A')
		if s[at] == c {
			c = 'B'
		}
		return s[:at] + string(c) + s[at+1:]
	}
}

func (w *world) livePod() *corev1.Pod { return w.pod() }

// tenant has the Kustomization decrypt as a ServiceAccount of its own, which the identity trusts.
func (w *world) tenant() {
	w.replace(w.account("tenant"))
	w.federation("tenant", w.azure.Env().IssuerURL, "system:serviceaccount:"+w.ns+":tenant", cloud.TokenExchange)
	kustomization(func(k *kustomizev1.Kustomization) { k.Spec.Decryption.ServiceAccountName = "tenant" })(w)
}
