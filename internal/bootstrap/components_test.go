package bootstrap

import (
	"flag"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/internal/testkit"
)

var _ = flag.Bool("update", false, "rewrite golden files")

func mustComponents(t *testing.T, o Options) []byte {
	t.Helper()
	text, err := Components(o)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// object decodes the document of a kind and name out of a manifest into obj.
func object(t *testing.T, manifest []byte, kind, name string, obj any) {
	t.Helper()
	for _, doc := range strings.Split(string(manifest), "---\n") {
		var id struct {
			Kind     string
			Metadata struct{ Name string }
		}
		if err := yaml.Unmarshal([]byte(doc), &id); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		if id.Kind == kind && id.Metadata.Name == name {
			if err := yaml.UnmarshalStrict([]byte(doc), obj); err != nil {
				t.Fatalf("%s %s: %v", kind, name, err)
			}
			return
		}
	}
	t.Fatalf("no %s %s", kind, name)
}

func TestComponentsAreTheGoldenFileWithoutTheDefinitions(t *testing.T) {
	var kept []string
	for _, doc := range strings.Split(string(mustComponents(t, Options{})), "---\n") {
		if !strings.Contains(doc, "\nkind: CustomResourceDefinition\n") {
			kept = append(kept, doc)
		}
	}
	testkit.Golden(t, "testdata/components.yaml", []byte(strings.Join(kept, "---\n")))
}

func TestComponentsFollowNamespaceVersionAndImage(t *testing.T) {
	text := string(mustComponents(t, Options{Namespace: "gitops", Version: "v1.2.3+dirty", Image: "registry.test:5000/s@sha256:ab"}))
	for _, left := range []string{"flux-system", Release, imageRepository, "v1.2.3+dirty\n  name"} {
		if strings.Contains(text, left) {
			t.Errorf("%q is left in the manifest", left)
		}
	}
	var d appsv1.Deployment
	object(t, []byte(text), "Deployment", "kustomize-controller", &d)
	if got := d.Spec.Template.Spec.Containers[0].Image; got != "registry.test:5000/s@sha256:ab" {
		t.Errorf("image %s", got)
	}
	if got := d.Labels["app.kubernetes.io/version"]; got != "v1.2.3_dirty" {
		t.Errorf("version label %s", got)
	}
}

func TestComponentsRefuseWhatTheAPIServerWouldRefuse(t *testing.T) {
	for _, o := range []Options{
		{Namespace: "Flux_System"},
		{Namespace: "a: b"},
		{Version: "v1\nkind: Secret"},
		{Image: "x y"},
		{Image: "x # y"},
	} {
		if _, err := Components(o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}

func TestControllerPodMeetsTheRestrictedStandard(t *testing.T) {
	var d appsv1.Deployment
	object(t, mustComponents(t, Options{}), "Deployment", "kustomize-controller", &d)
	c := d.Spec.Template.Spec.Containers[0]
	s := c.SecurityContext
	switch {
	case c.Name != "manager":
		t.Errorf("patches address the container as manager, it is %s", c.Name)
	case !*s.RunAsNonRoot || !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation:
		t.Error("the container may be root, write its root file system or escalate")
	case len(s.Capabilities.Drop) != 1 || s.Capabilities.Drop[0] != "ALL" || len(s.Capabilities.Add) != 0:
		t.Errorf("capabilities %v", s.Capabilities)
	case s.SeccompProfile.Type != "RuntimeDefault":
		t.Errorf("seccomp %v", s.SeccompProfile)
	case c.Resources.Requests.Cpu().IsZero() || c.Resources.Limits.Memory().IsZero():
		t.Errorf("resources %v", c.Resources)
	case c.LivenessProbe == nil || c.ReadinessProbe == nil:
		t.Error("a probe is missing")
	case d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType:
		t.Errorf("strategy %s: two controllers would overlap", d.Spec.Strategy.Type)
	}
	if _, on := d.Spec.Template.Labels["azure.workload.identity/use"]; on {
		t.Error("workload identity is switched on without a patch")
	}
}

func TestNetworkPolicyKeepsThePodFromInstanceMetadata(t *testing.T) {
	var p networkingv1.NetworkPolicy
	object(t, mustComponents(t, Options{}), "NetworkPolicy", "kustomize-controller", &p)
	for _, rule := range p.Spec.Egress {
		for _, to := range rule.To {
			if b := to.IPBlock; b != nil && b.CIDR == "0.0.0.0/0" && (len(b.Except) != 1 || b.Except[0] != "169.254.169.254/32") {
				t.Errorf("egress to %s except %v", b.CIDR, b.Except)
			}
		}
	}
	for _, rule := range p.Spec.Ingress {
		for _, from := range rule.From {
			if from.NamespaceSelector != nil || from.IPBlock != nil {
				t.Errorf("ingress from outside the namespace: %v", from)
			}
		}
	}
}

func TestOnlyTheReconcilerBindingGivesClusterAdmin(t *testing.T) {
	text := mustComponents(t, Options{})
	var b rbacv1.ClusterRoleBinding
	object(t, text, "ClusterRoleBinding", "cluster-reconciler-flux-system", &b)
	if b.RoleRef.Name != "cluster-admin" || len(b.Subjects) != 1 || b.Subjects[0].Name != "kustomize-controller" {
		t.Errorf("cluster-reconciler binds %s to %v", b.RoleRef.Name, b.Subjects)
	}
	if n := strings.Count(string(text), "cluster-admin"); n != 1 {
		t.Errorf("cluster-admin is named %d times", n)
	}
	var role rbacv1.ClusterRole
	object(t, text, "ClusterRole", "crd-controller-flux-system", &role)
	for _, r := range role.Rules {
		for _, g := range r.APIGroups {
			if g == "*" || (g == "" && strings.Contains(strings.Join(r.Verbs, " "), "update")) {
				t.Errorf("crd-controller may %v %v in group %q", r.Verbs, r.Resources, g)
			}
		}
	}
}
