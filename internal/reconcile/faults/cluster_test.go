package faults

import (
	"fmt"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/testkit"
)

// A namespace that Git wants and that hangs in its deletion is told by name and waited for without a loop; neighbours go
// on, and when it is gone at last it is made again with all that was in it.
func TestANamespaceThatHangsInItsDeletionIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := standing(t, newWorld(t))
	name := w.namespace + "-hangs"
	w.push(map[string]string{"hangs/ns.yaml": "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + name + "}\n", "hangs/in.yaml": configMap("in", "1")})
	w.kustomization("hangs", func(s *kustomizev1.KustomizationSpec) { s.TargetNamespace = name })
	w.applied("a", "b", "hangs")

	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	held := configMapObject(name, "in")
	w.finalizers(held, `["example.com/hold"]`)
	for _, o := range []client.Object{ns, held} { // the namespace controller would delete what is in it
		if err := w.client.Delete(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	w.until("hangs", metav1.ConditionFalse, name, "being deleted") // although there is no commit
	w.push(map[string]string{"a/cm3.yaml": configMap("cm3", "2"), "hangs/more.yaml": configMap("more", "1")})
	w.until("hangs", metav1.ConditionFalse, name, "deleted")
	w.applied("a", "b")
	w.hasValue("cm3", "2")
	if k, err := w.get("hangs"); err != nil || len(k.Status.Inventory.Entries) < 2 {
		t.Errorf("the inventory is not kept: %v, %v", k.Status.Inventory, err)
	}

	w.finalizers(held, "null")
	kube, err := kubernetes.NewForConfig(w.env.Config)
	if err != nil {
		t.Fatal(err)
	}
	w.eventually(func() error { // what the namespace controller does in the end
		now, err := kube.CoreV1().Namespaces().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		now.Spec.Finalizers = nil
		_, err = kube.CoreV1().Namespaces().Finalize(t.Context(), now, metav1.UpdateOptions{})
		return err
	})
	w.applied("hangs")
	w.eventually(func() error {
		var cm corev1.ConfigMap
		return w.client.Get(t.Context(), client.ObjectKey{Namespace: name, Name: "in"}, &cm)
	})
	w.quiet("a", "b", "hangs")
}

// An admission rule that denies one object fails the Kustomization by the object's name and the rule's; nothing of its
// stage is half done, neighbours go on, and it heals when the rule is gone.
func TestADeniedObjectIsNamedAndHealsWithTheRule(t *testing.T) {
	t.Parallel()
	w := standing(t, newWorld(t))
	before := w.uids()
	rule := w.namespace + "-no"
	fail := admissionv1.Fail
	w.create(&admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: rule},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			FailurePolicy: &fail,
			MatchConstraints: &admissionv1.MatchResources{
				NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": w.namespace}},
				ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
					Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
				}}},
			},
			Validations: []admissionv1.Validation{{Expression: "!has(object.data) || !('key' in object.data) || object.data.key != 'bad'", Message: "not this one"}},
		},
	})
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: rule},
		Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: rule, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
		},
	}
	w.create(binding)
	t.Cleanup(func() { _ = w.client.Delete(t.Context(), binding) })
	probe := configMapObject(w.namespace, "probe")
	probe.Data = map[string]string{"key": "bad"}
	w.eventually(func() error { // the server takes a moment to hear of the rule
		err := w.client.Create(t.Context(), probe.DeepCopy(), client.DryRunAll)
		if err == nil {
			return fmt.Errorf("the rule is not in force yet")
		}
		if !strings.Contains(err.Error(), "not this one") {
			return err
		}
		return nil
	})

	w.push(map[string]string{"a/cm3.yaml": configMap("cm3", "bad"), "a/cm4.yaml": configMap("cm4", "2"), "a/cm5.yaml": "", "b/other.yaml": configMap("other", "2")})
	w.applied("b")
	w.until("a", metav1.ConditionFalse, "cm3", rule)
	if four, err := w.value("cm4"); err != nil || four != "1" {
		t.Errorf("half of the stage was applied: cm4 is %q, %v", four, err)
	}
	w.same(before)
	if err := w.client.Delete(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	w.applied("a", "b")
	w.hasValue("cm3", "bad")
	w.hasValue("cm4", "2")
	delete(before, "cm5")
	w.same(before)
	w.quiet("a", "b")
}

// A definition that vanishes under live watches takes its instances along. The Kustomization that has one names it, the
// inventory stays, neighbours go on, and when the definition is back, so is the instance.
func TestADefinitionThatGoesAndComesBackBringsItsInstancesBack(t *testing.T) {
	t.Parallel()
	w := standing(t, newWorld(t))
	group := w.namespace + ".example.com"
	crd := `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.` + group + `}
spec:
  group: ` + group + `
  scope: Namespaced
  names: {kind: Thing, plural: things}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`
	testkit.InstallCRDs(t, w.env, []byte(crd))
	w.push(map[string]string{"c/thing.yaml": "apiVersion: " + group + "/v1\nkind: Thing\nmetadata: {name: it}\nspec: {size: 1}\n", "c/cm.yaml": configMap("beside", "1")})
	w.kustomization("c", nil)
	w.applied("a", "b", "c")
	w.quiet("c")
	before := w.uids()
	definition := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}}
	definition.SetName("things." + group)
	if err := w.client.Delete(t.Context(), definition); err != nil {
		t.Fatal(err)
	}
	w.eventually(func() error {
		if err := w.client.Get(t.Context(), client.ObjectKey{Name: definition.GetName()}, definition.DeepCopy()); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the definition is still there: %v", err)
		}
		return nil
	})
	w.push(map[string]string{"c/cm.yaml": configMap("beside", "2"), "a/cm3.yaml": configMap("cm3", "2")})
	w.until("c", metav1.ConditionFalse, "Thing")
	w.applied("a", "b")
	if k, err := w.get("c"); err != nil || len(k.Status.Inventory.Entries) != 2 {
		t.Errorf("the inventory is not kept: %v, %v", k.Status.Inventory, err)
	}
	testkit.InstallCRDs(t, w.env, []byte(crd))
	w.applied("c")
	w.hasValue("beside", "2")
	w.eventually(func() error {
		it := &unstructured.Unstructured{Object: map[string]any{"apiVersion": group + "/v1", "kind": "Thing"}}
		return w.client.Get(t.Context(), client.ObjectKey{Namespace: w.namespace, Name: "it"}, it)
	})
	w.same(before)
	w.quiet("a", "b", "c")
}
