package apply

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/inventory"
	"github.com/sluice-gitops/sluice/internal/redact"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

// wantFault holds that err is a complete fault with the code, about the object, and that its text holds the words.
func wantFault(t *testing.T, err error, code, object string, words ...string) {
	t.Helper()
	f := fault.From(err)
	if f == nil {
		t.Fatalf("no fault: %v", err)
	}
	if f.Code != code || f.Object != object || f.Why == "" || f.Fix == "" || f.Reason == "" {
		t.Errorf("fault: %+v", f)
	}
	for _, w := range words {
		if !strings.Contains(f.Error(), w) {
			t.Errorf("%q is missing in: %v", w, f)
		}
	}
}

func TestFaultsNameTheHopTheCauseAndTheFix(t *testing.T) {
	b := setUp(t)
	for name, tt := range map[string]struct {
		object, code, subject string
		words                 []string
	}{
		"missing namespace": {`{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: NS-none}}`, "SLU-APPLY-001", "ConfigMap/NS-none/a",
			[]string{"does not exist", "kubectl create namespace NS-none"}},
		"missing kind": {`{apiVersion: none.example.com/v1, kind: Gadget, metadata: {name: a, namespace: NS}}`, "SLU-APPLY-002", "Gadget/NS/a",
			[]string{"CustomResourceDefinition is not installed", "kubectl api-resources --api-group=none.example.com"}},
		"missing version": {`{apiVersion: apps/v1beta1, kind: Deployment, metadata: {name: a, namespace: NS}}`, "SLU-APPLY-002", "Deployment/NS/a",
			[]string{"the version is gone"}},
		"no namespace":  {`{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}`, "SLU-APPLY-012", "ConfigMap/a", []string{"spec.targetNamespace"}},
		"invalid":       {`{apiVersion: v1, kind: Service, metadata: {name: a, namespace: NS}, spec: {ports: [{port: 99999}]}}`, "SLU-APPLY-006", "Service/NS/a", []string{"spec.ports[0].port"}},
		"wrong type":    {`{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: NS}, data: {k: {a: 1}}}`, "SLU-APPLY-011", "ConfigMap/NS/a", []string{"kubectl explain configmap"}},
		"unknown field": {`{apiVersion: v1, kind: Widget, metadata: {name: a, namespace: NS}}`, "SLU-APPLY-002", "Widget/NS/a", nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := b.run(tt.object)
			words := make([]string, len(tt.words))
			for i, w := range tt.words {
				words[i] = strings.ReplaceAll(w, "NS", b.ns)
			}
			wantFault(t, err, tt.code, strings.ReplaceAll(tt.subject, "NS", b.ns), words...)
			if f := fault.From(err); f.Hop != fault.HopApply || f.Reason != "ReconciliationFailed" {
				t.Errorf("hop %s, reason %s", f.Hop, f.Reason)
			}
		})
	}
}

func TestAForbiddenUserIsNamedWithTheRightsThatAreMissing(t *testing.T) {
	b := setUp(t)
	cfg := testkit.Cluster(t).Config
	cfg.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + b.ns + ":tenant"}
	b.apply = b.as(cfg)
	_, err := b.run(cmA)
	wantFault(t, err, "SLU-APPLY-003", "ConfigMap/"+b.ns+"/a", "system:serviceaccount:"+b.ns+":tenant may not patch configmaps in namespace "+b.ns,
		"kubectl create role apply-configmaps -n "+b.ns+" --verb=get,list,watch,create,update,patch,delete --resource=configmaps",
		"--serviceaccount="+b.ns+":tenant")
	if !apierrors.IsForbidden(err) {
		t.Error("apierrors' questions can't be put to the fault")
	}
	_, err = b.run(`{apiVersion: v1, kind: Namespace, metadata: {name: NS-x}}`)
	wantFault(t, err, "SLU-APPLY-003", "Namespace/"+b.ns+"-x", "in the cluster", "kubectl create clusterrolebinding")

	// The role that the fix makes is enough.
	rules := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: strings.Split("get,list,watch,create,update,patch,delete", ",")}}
	if _, err := b.kube.RbacV1().Roles(b.ns).Create(t.Context(), &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "r"}, Rules: rules}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "r"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "r"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: b.ns, Name: "tenant"}}}
	if _, err := b.kube.RbacV1().RoleBindings(b.ns).Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { _, err := b.run(cmA); return err == nil })
	b.must("")
}

func TestWhatCouldNotBePrunedStaysInTheInventory(t *testing.T) {
	b := setUp(t)
	b.must(cmA)
	admin := b.apply
	cfg := testkit.Cluster(t).Config
	cfg.Impersonate = rest.ImpersonationConfig{UserName: "nobody"}
	b.apply = b.as(cfg)
	_, err := b.run("")
	wantFault(t, err, "SLU-PRUNE-003", "ConfigMap/"+b.ns+"/a", "nobody may not get configmaps")
	if f := fault.From(err); f.Hop != fault.HopPrune || f.Reason != "PruneFailed" {
		t.Errorf("fault: %+v", f)
	}
	if b.old.Len() != 1 {
		t.Errorf("inventory: %v", b.old)
	}
	b.apply = admin
	if got := actions(b.must("")); got != "ConfigMap/a deleted" || b.old.Len() != 0 {
		t.Errorf("%s, %v", got, b.old)
	}
}

func TestAWebhookThatDeniesOrDoesNotAnswerIsNamed(t *testing.T) {
	b := setUp(t)
	fail := admissionv1.Fail
	none := admissionv1.SideEffectClassNone
	url := "https://127.0.0.1:1/nobody"
	hooks := b.kube.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	if _, err := hooks.Create(t.Context(), &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: b.ns},
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name: "policy.example.com", FailurePolicy: &fail, SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig:      admissionv1.WebhookClientConfig{URL: &url},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": b.ns}},
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{"*"}, Rule: admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
		}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hooks.Delete(context.WithoutCancel(t.Context()), b.ns, metav1.DeleteOptions{}) })
	var err error
	eventually(t, func() bool { _, err = b.run(cmA); return err != nil })
	wantFault(t, err, "SLU-APPLY-005", "ConfigMap/"+b.ns+"/a", "webhook policy.example.com does not answer")

	denied := apierrors.NewForbidden(corev1.Resource("configmaps"), "a", errors.New(`admission webhook "policy.example.com" denied the request: no`))
	wantFault(t, b.apply.explain(fault.HopApply, b.objectID(cmA), denied), "SLU-APPLY-004", "ConfigMap/"+b.ns+"/a", "policy.example.com does not allow it")
}

func TestNothingIsAppliedIntoANamespaceThatIsGoing(t *testing.T) {
	b := setUp(t)
	if err := b.kube.CoreV1().Namespaces().Delete(t.Context(), b.ns, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := b.run(cmA)
	wantFault(t, err, "SLU-APPLY-009", "ConfigMap/"+b.ns+"/a", "is being deleted")
	_, err = b.run(`{apiVersion: v1, kind: Namespace, metadata: {name: NS}}`)
	wantFault(t, err, "SLU-APPLY-009", "Namespace/"+b.ns, "is being deleted")
}

func TestAServerThatCannotBeReachedIsTheAPIsFaultAndToldOnce(t *testing.T) {
	b := setUp(t)
	cfg := testkit.Cluster(t).Config
	refuse := false
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if refuse {
				r = r.Clone(r.Context())
				r.URL.Host = "127.0.0.1:1"
			}
			return next.RoundTrip(r)
		})
	})
	b.apply = b.as(cfg)
	b.must(cmA)
	refuse = true
	_, err := b.run(cmA + "\n---\n" + strings.ReplaceAll(cmA, "name: a", "name: b"))
	wantFault(t, err, "SLU-API-003", "", "can't be reached")
	if f := fault.From(err); f.Hop != fault.HopAPI || strings.Contains(err.Error(), "more objects") {
		t.Errorf("fault: %v", err)
	}
	if !b.old.Has(b.objectID(cmA)) {
		t.Error("the inventory is lost")
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantFault(t, b.apply.explain(fault.HopApply, b.objectID(cmA), ctx.Err()), "SLU-API-002", "")
}

// TestNoValueIsToldThatTheServerQuotes has the API server quote values in all the ways that it is known to.
func TestNoValueIsToldThatTheServerQuotes(t *testing.T) {
	b := setUp(t)
	const canary = "hunter2*canary*value"
	b.redact = redact.New([]byte(canary), []byte("918273645546372819"))
	for name, text := range map[string]string{
		"a Secret that is not base64":      `{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: NS}, data: {k: "` + canary + `"}}`,
		"a Secret of the wrong type":       `{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: NS}, data: {k: {a: "` + canary + `"}}}`,
		"a Secret with a bad type":         `{apiVersion: v1, kind: Secret, type: kubernetes.io/tls, metadata: {name: s, namespace: NS}, stringData: {"tls.crt": "` + canary + `"}}`,
		"stringData of the wrong type":     `{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: NS}, stringData: ["` + canary + `"]}`,
		"a ConfigMap with a number":        `{apiVersion: v1, kind: ConfigMap, metadata: {name: s, namespace: NS}, data: {k: 918273645546372819}}`,
		"a ConfigMap with a list":          `{apiVersion: v1, kind: ConfigMap, metadata: {name: s, namespace: NS}, data: {k: ["` + canary + `"]}}`,
		"a ConfigMap with a bad key":       `{apiVersion: v1, kind: ConfigMap, metadata: {name: s, namespace: NS}, data: {"` + canary + `": x}}`,
		"a label":                          `{apiVersion: v1, kind: ConfigMap, metadata: {name: s, namespace: NS, labels: {l: "` + canary + `"}}}`,
		"a field that must be of an enum":  `{apiVersion: v1, kind: Service, metadata: {name: s, namespace: NS}, spec: {type: "` + canary + `", ports: [{port: 80}]}}`,
		"a name":                           `{apiVersion: v1, kind: ConfigMap, metadata: {name: ok, namespace: NS, ownerReferences: [{apiVersion: v1, kind: Pod, name: "` + canary + `", uid: "` + canary + `", controller: x}]}}`,
		"a kind's validation, in its spec": `{apiVersion: apps/v1, kind: Deployment, metadata: {name: s, namespace: NS}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i, env: [{name: "` + canary + `=", value: "` + canary + `", valueFrom: {fieldRef: {fieldPath: x}}}]}]}}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := b.run(text)
			if err == nil {
				t.Fatal("the API server takes it")
			}
			for e := error(err); e != nil; e = errors.Unwrap(e) {
				for _, form := range []string{canary, "hunter2", "aHVudGVyMipjYW5hcnkqdmFsdWU", "918273645546372819"} {
					if strings.Contains(e.Error(), form) {
						t.Errorf("told: %v", e)
					}
				}
				var status apierrors.APIStatus
				if errors.As(e, &status) && strings.Contains(fmt.Sprintf("%+v", status.Status()), "hunter2") {
					t.Errorf("in the status: %v", status.Status())
				}
			}
			t.Log(err)
		})
	}
}

func TestWarningsOfTheServerComeWithTheChange(t *testing.T) {
	b := setUp(t)
	res := b.must(`{apiVersion: v1, kind: Endpoints, metadata: {name: e, namespace: NS}}`)
	if len(res.Changes) != 1 || len(res.Changes[0].Warnings) == 0 || !strings.Contains(res.Changes[0].Warnings[0], "deprecated") {
		t.Errorf("changes: %+v", res.Changes)
	}
}

func TestADefinitionThatIsNotEstablishedStopsWhatNeedsIt(t *testing.T) {
	b := setUp(t)
	name := strings.ReplaceAll(b.ns, "-", "")
	crd := func(plural string) string {
		return `{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: ` + plural + `.example.com}, spec: {group: example.com, scope: Namespaced,
			names: {kind: K` + name + `, plural: ` + plural + `}, versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]}}`
	}
	b.must(crd(name + "s"))
	b.old = inventory.Set{}
	res, err := b.run(crd(name+"es") + "\n---\n" + cmA)
	wantFault(t, err, "SLU-APPLY-013", "CustomResourceDefinition/"+name+"es.example.com", "not established")
	if got := actions(res); got != "CustomResourceDefinition/"+name+"es.example.com created" {
		t.Errorf("done: %s", got)
	}
	if res.Inventory.Len() != 2 {
		t.Errorf("inventory: %v", res.Inventory)
	}
}
