package cli

import (
	"encoding/json"
	"strings"
	"testing"

	sdk "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/azure/cloud"
	"github.com/sluice-gitops/sluice/internal/doctor"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

// ward is a room with a controller whose Deployment lacks the label and whose ServiceAccount lacks the annotations.
func newWard(t *testing.T) (*room, client.Client) {
	r := newRoom(t)
	c, err := client.New(rest.CopyConfig(testkit.Cluster(t).Config), client.Options{Scheme: doctor.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{"app": "kustomize-controller"}
	for _, o := range []client.Object{
		&sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "app"}, Spec: sourcev1.GitRepositorySpec{URL: "https://git.example.com/app.git"}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "kustomize-controller"}},
		&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: "kustomize-controller"}, Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
				ServiceAccountName: "kustomize-controller", Containers: []corev1.Container{{Name: "manager", Image: "sluice"}}}},
		}},
	} {
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	r.kustomization("apps", func(k *kustomizev1.Kustomization) { k.Spec.Decryption = &kustomizev1.Decryption{Provider: "sops"} })
	r.kustomization("plain", nil)
	return r, c
}

func (r *room) doctor(args ...string) (out, errs string, code int) {
	return r.run(append([]string{"doctor", "--no-network", "--controller-namespace", r.namespace}, args...)...)
}

func TestDoctorNamesTheHopAndExitsWithItsCode(t *testing.T) {
	r, _ := newWard(t)
	out, errs, code := r.doctor()
	if code != fault.ExitSignIn || !strings.Contains(errs, `the hop "deployment" is broken`) {
		t.Errorf("exit %d, errors %s", code, errs)
	}
	for _, want := range []string{"? source ", "could not look: needs the network (--no-network)", "✓ decryption ", "✗ deployment ",
		"    fix       kubectl patch deployment -n ", "--fix\n", "    keep ", "– vault "} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "plain") {
		t.Errorf("a Kustomization that does not decrypt is looked at:\n%s", out)
	}
}

func TestDoctorPrintsTheSameAsJSON(t *testing.T) {
	r, _ := newWard(t)
	out, _, code := r.doctor("ks", "apps", "-o", "json")
	var got struct{ Reports []doctor.Report }
	if err := json.Unmarshal([]byte(out), &got); err != nil || len(got.Reports) != 1 {
		t.Fatalf("%v\n%s", err, out)
	}
	h := got.Reports[0].Broken()
	if code != fault.ExitSignIn || h == nil || h.Name != "deployment" || h.Fault == nil || h.Remedy == nil || !h.Remedy.Safe || len(got.Reports[0].Hops) != len(doctor.Names()) {
		t.Errorf("exit %d, %+v", code, h)
	}
}

func TestDoctorMendsWhatIsSafeAfterShowingItAndNothingElse(t *testing.T) {
	r, c := newWard(t)
	label := func() string {
		var d appsv1.Deployment
		if err := c.Get(t.Context(), client.ObjectKey{Namespace: r.namespace, Name: "kustomize-controller"}, &d); err != nil {
			t.Fatal(err)
		}
		return d.Spec.Template.Labels["azure.workload.identity/use"]
	}
	if r.doctor("ks", "apps"); label() != "" {
		t.Fatal("it mended without --fix")
	}
	out, errs, code := r.doctor("ks", "apps", "--fix")
	if label() != "true" || !strings.Contains(errs, "mending deployment of "+r.namespace+"/apps: kubectl patch deployment") {
		t.Errorf("label %q, errors %s", label(), errs)
	}
	// Which identity the ServiceAccount is to name is nothing to guess.
	if code != fault.ExitSignIn || !strings.Contains(out, "✗ service account ") || !strings.Contains(errs, "--fix does not mend this") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
}

// The same chain, seen from a workstation and by the controller's own pod.
func TestDoctorLooksAtARunningPodFromOutsideAndAtItselfFromInside(t *testing.T) {
	r, c := newWard(t)
	for _, p := range []struct {
		o     client.Object
		patch string
	}{
		{&appsv1.Deployment{}, `{"spec":{"template":{"metadata":{"labels":{"azure.workload.identity/use":"true"}}}}}`},
		{&corev1.ServiceAccount{}, `{"metadata":{"annotations":{"azure.workload.identity/client-id":"client","azure.workload.identity/tenant-id":"tenant"}}}`},
	} {
		p.o.SetNamespace(r.namespace)
		p.o.SetName("kustomize-controller")
		if err := c.Patch(t.Context(), p.o, client.RawPatch("application/merge-patch+json", []byte(p.patch))); err != nil {
			t.Fatal(err)
		}
	}
	out, _, code := r.doctor("ks", "apps")
	if code != fault.ExitSignIn || !strings.Contains(out, "✗ pod ") || !strings.Contains(out, "no pod of it is running") {
		t.Errorf("from outside: exit %d\n%s", code, out)
	}
	for client, want := range map[string]string{"client": "✓ pod                   this process has label, environment and token", "other": "✗ pod "} {
		env := map[string]string{"AZURE_CLIENT_ID": client, "AZURE_TENANT_ID": "tenant", "AZURE_FEDERATED_TOKEN_FILE": "/var/run/token", "FLUX_SYSTEM_NAMESPACE": r.namespace}
		var o, e lockedBuffer
		Run(t.Context(), []string{"doctor", "ks", "apps", "--no-network", "--kubeconfig", r.kubeconfig, "-n", r.namespace},
			Streams{Out: &o, Err: &e, Env: func(name string) string { return env[name] }})
		if !strings.Contains(o.String(), want) {
			t.Errorf("from inside as %s: no %q in\n%s%s", client, want, o.String(), e.String())
		}
	}
}

// Resource Manager is asked in the cloud that the person signs in to.
func TestTheCommandsForAzureFollowTheSignInsCloud(t *testing.T) {
	for authority, want := range map[string]cloud.Cloud{"": cloud.Public, "https://login.microsoftonline.us/": cloud.USGovernment, "https://login.chinacloudapi.cn": cloud.China} {
		o := Streams{Env: func(string) string { return authority }}.azureCloud()
		if got := o.Cloud.Services[sdk.ResourceManager].Endpoint; got != want.Management() || got == "" {
			t.Errorf("%q: %s, want %s", authority, got, want.Management())
		}
	}
	if o := (Streams{Env: func(string) string { return "https://login.example.com/" }}).azureCloud(); o.Cloud.Services != nil {
		t.Errorf("an unknown Entra ID: %+v", o.Cloud)
	}
}

func TestDoctorOfNothingIsExitCodeOne(t *testing.T) {
	r := newRoom(t)
	if _, errs, code := r.run("doctor", "--no-network"); code != fault.ExitNo {
		t.Errorf("exit %d: %s", code, errs)
	}
	if _, errs, code := r.run("doctor", "ks", "nosuch", "--no-network"); code != fault.ExitNo || !strings.Contains(errs, "there is no Kustomization") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if _, _, code := r.run("doctor", "apps"); code != fault.ExitUsage {
		t.Errorf("exit %d for a name without ks", code)
	}
}
