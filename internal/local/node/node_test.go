package node

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/sluice-gitops/sluice/internal/local/state"
)

const clusterTenant = "11111111-1111-1111-1111-111111111111"

func deployment(change func(*appsv1.Deployment)) *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: Name}}
	d.Spec.Template.Labels = map[string]string{useLabel: "true", "app": Name}
	d.Spec.Template.Spec.ServiceAccountName = Name
	c := corev1.Container{Name: "manager", Args: []string{"controller", "--ns=$(RUNTIME_NAMESPACE)", "--log-level=info"}}
	c.Env = []corev1.EnvVar{
		{Name: "RUNTIME_NAMESPACE", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.namespace"}}},
		{Name: "GOMAXPROCS", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu"}}},
		{Name: "GOMEMLIMIT", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.memory"}}},
		{Name: "PASSWORD", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{Key: "x"}}},
	}
	c.Resources.Limits = corev1.ResourceList{"cpu": resource.MustParse("1500m"), "memory": resource.MustParse("1Gi")}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "sidecar"}, c}
	if change != nil {
		change(d)
	}
	return d
}

func account(annotations map[string]string) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: Name, UID: "u1", Annotations: annotations}}
}

var annotated = map[string]string{clientIDAnnotation: "client", tenantIDAnnotation: "tenant"}

func desired(t *testing.T, d *appsv1.Deployment, sa *corev1.ServiceAccount) *Pod {
	t.Helper()
	p, err := Desired(d, sa, clusterTenant)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAPodTakesArgumentsAndEnvironmentFromTheTemplate(t *testing.T) {
	p := desired(t, deployment(nil), account(annotated))
	if want := []string{"controller", "--ns=flux-system", "--log-level=info"}; !slices.Equal(p.Args, want) {
		t.Errorf("args %v, want %v", p.Args, want)
	}
	if want := []string{"GOMAXPROCS=2", "GOMEMLIMIT=1073741824", "RUNTIME_NAMESPACE=flux-system"}; !slices.Equal(p.Variables(), want) {
		t.Errorf("env %v, want %v", p.Variables(), want)
	}
	if want := []string{"PASSWORD"}; !slices.Equal(p.Skipped, want) {
		t.Errorf("skipped %v, want %v", p.Skipped, want)
	}
}

func TestNothingRunsWithoutDeploymentAccountOrReplicas(t *testing.T) {
	zero := int32(0)
	for name, p := range map[string]*Pod{
		"no deployment": desired(t, nil, account(nil)),
		"no account":    desired(t, deployment(nil), nil),
		"no replicas":   desired(t, deployment(func(d *appsv1.Deployment) { d.Spec.Replicas = &zero }), account(nil)),
	} {
		if p != nil || p.Hash() != "" {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func TestTheWebhookInjectsExactlyForLabelAndClientID(t *testing.T) {
	label := func(v string) func(*appsv1.Deployment) {
		return func(d *appsv1.Deployment) { d.Spec.Template.Labels[useLabel] = v }
	}
	with := func(kv ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return m
	}
	for _, tt := range []struct {
		name        string
		change      func(*appsv1.Deployment)
		annotations map[string]string
		want        *Identity
	}{
		{"both", nil, annotated, &Identity{"client", "tenant", 3600}},
		{"label false", label("false"), annotated, nil},
		{"label True, as YAML might say", label("True"), annotated, nil},
		{"no label", func(d *appsv1.Deployment) { delete(d.Spec.Template.Labels, useLabel) }, annotated, nil},
		{"label on the Deployment only", func(d *appsv1.Deployment) { d.Labels = d.Spec.Template.Labels; d.Spec.Template.Labels = nil }, annotated, nil},
		{"no client id", nil, with(tenantIDAnnotation, "tenant"), nil},
		{"the cluster's tenant by default", nil, with(clientIDAnnotation, "client"), &Identity{"client", clusterTenant, 3600}},
		{"expiration", nil, with(clientIDAnnotation, "client", expirationAnnotation, "7200"), &Identity{"client", clusterTenant, 7200}},
		{"expiration out of range", nil, with(clientIDAnnotation, "client", expirationAnnotation, "60"), &Identity{"client", clusterTenant, 3600}},
		{"the pod's expiration wins", func(d *appsv1.Deployment) { d.Spec.Template.Annotations = with(expirationAnnotation, "9000") },
			with(clientIDAnnotation, "client", expirationAnnotation, "7200"), &Identity{"client", clusterTenant, 9000}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := desired(t, deployment(tt.change), account(tt.annotations)).Identity
			if (got == nil) != (tt.want == nil) || (got != nil && *got != *tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestTheHashMovesWithEverythingThatMakesANewPod(t *testing.T) {
	base := desired(t, deployment(nil), account(annotated)).Hash()
	if again := desired(t, deployment(nil), account(annotated)).Hash(); again != base {
		t.Error("the hash moves by itself")
	}
	three := int32(3)
	same := desired(t, deployment(func(d *appsv1.Deployment) { d.Spec.Replicas = &three; d.Annotations = map[string]string{"x": "y"} }), account(annotated))
	if same.Hash() != base {
		t.Error("replicas or the Deployment's own annotations restart the process")
	}
	for name, change := range map[string]func(*appsv1.Deployment){
		"label": func(d *appsv1.Deployment) { delete(d.Spec.Template.Labels, useLabel) },
		"restartedAt": func(d *appsv1.Deployment) {
			d.Spec.Template.Annotations = map[string]string{"kubectl.kubernetes.io/restartedAt": "now"}
		},
		"args": func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[1].Args = nil },
		"env":  func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[1].Env = nil },
	} {
		if desired(t, deployment(change), account(annotated)).Hash() == base {
			t.Errorf("%s: unchanged", name)
		}
	}
	for name, sa := range map[string]*corev1.ServiceAccount{
		"client id": account(map[string]string{clientIDAnnotation: "other", tenantIDAnnotation: "tenant"}),
		"recreated": {ObjectMeta: metav1.ObjectMeta{UID: "u2", Annotations: annotated}},
	} {
		if desired(t, deployment(nil), sa).Hash() == base {
			t.Errorf("%s: unchanged", name)
		}
	}
}

func TestExpand(t *testing.T) {
	env := map[string]string{"A": "1", "B": "$(A)"}
	for in, want := range map[string]string{
		"plain": "plain", "$(A)": "1", "x$(A)y$(A)": "x1y1", "$(MISSING)": "$(MISSING)", "$$(A)": "$(A)",
		"$(A": "$(A", "$": "$", "$x": "$x", "$(B)": "$(A)", "a$": "a$",
	} {
		if got := expand(in, env); got != want {
			t.Errorf("expand(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestTheProcessGetsOnlyWhatAPodWouldHave(t *testing.T) {
	t.Setenv("AZURE_CLIENT_SECRET", "the user's own")
	t.Setenv("KUBECONFIG", "/home/user/.kube/config")
	a := &Agent{cfg: Config{
		Dir: state.Dir(t.TempDir()), Executable: "/bin/sluice", Admin: &rest.Config{}, TenantID: clusterTenant,
		Flags: []string{"--storage-path=/s"}, Network: []string{"HTTPS_PROXY=http://127.0.0.1:1"},
	}}
	pod := desired(t, deployment(func(d *appsv1.Deployment) {
		c := &d.Spec.Template.Spec.Containers[1]
		c.Args = []string{"--log-level=debug"}
		c.Env = append(c.Env, corev1.EnvVar{Name: "AZURE_AUTHORITY_HOST", Value: "https://login.example/"})
	}), account(annotated))
	s := a.spec(pod)
	if want := []string{"controller", "--log-level=debug", "--storage-path=/s"}; !slices.Equal(s.Args, want) {
		t.Errorf("args %v, want %v", s.Args, want)
	}
	env := strings.Join(s.Env, "\n")
	for _, want := range []string{
		"AZURE_CLIENT_ID=client", "AZURE_TENANT_ID=tenant", "AZURE_AUTHORITY_HOST=https://login.example/", "HTTPS_PROXY=http://127.0.0.1:1",
		"AZURE_FEDERATED_TOKEN_FILE=" + a.cfg.Dir.Node("azure-identity-token"), "KUBECONFIG=" + filepath.Join(string(a.cfg.Dir), "node", "kubeconfig"),
	} {
		if !strings.Contains(env, want) {
			t.Errorf("no %s in\n%s", want, env)
		}
	}
	for _, never := range []string{"the user's own", "/home/user/.kube/config", "login.microsoftonline.com"} {
		if strings.Contains(env, never) {
			t.Errorf("%s leaked into\n%s", never, env)
		}
	}
	pod.Identity = nil
	if env := strings.Join(a.spec(pod).Env, "\n"); strings.Contains(env, "AZURE_CLIENT_ID") || strings.Contains(env, "TOKEN_FILE") {
		t.Errorf("without the label, still\n%s", env)
	}
}
