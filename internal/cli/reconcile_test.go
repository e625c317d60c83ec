package cli

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// controlled answers each reconcile request at once, as a controller would: with the given readiness.
func controlled(status metav1.ConditionStatus, message string) client.WithWatch {
	return interceptor.NewClient(reader(objects()...), interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			if err := c.Patch(ctx, o, p, opts...); err != nil {
				return err
			}
			asked, _ := meta.ReconcileAnnotationValue(o.GetAnnotations())
			switch o := o.(type) {
			case *kustomizev1.Kustomization:
				o.Status.LastHandledReconcileAt, o.Status.Conditions = asked, condition(status, message)
			case *sourcev1.GitRepository:
				o.Status.LastHandledReconcileAt = asked
			}
			return c.Status().Update(ctx, o)
		},
	})
}

func run(ctx context.Context, do reconciliation, c client.Client, r *reconciler) (string, error) {
	var out bytes.Buffer
	r.streams = Streams{Out: &out, Err: &out, Env: func(string) string { return "" }}
	r.kube = kubeFlags{namespace: "flux-system", timeout: time.Second}
	err := do(ctx, c)
	return out.String(), err
}

func TestReconcileTellsItsStepsAsFluxDoes(t *testing.T) {
	r := &reconciler{withSource: true}
	c := controlled(metav1.ConditionTrue, "Applied")
	if err := c.Update(context.Background(), withSourceRef(t, c)); err != nil {
		t.Fatal(err)
	}
	out, err := run(context.Background(), r.kustomization("apps"), c, r)
	if err != nil {
		t.Fatal(err)
	}
	want := `► annotating GitRepository flux-system in flux-system namespace
✔ GitRepository annotated
◎ waiting for GitRepository reconciliation
✔ fetched revision main@sha1:` + hash + `
► annotating Kustomization apps in flux-system namespace
✔ Kustomization annotated
◎ waiting for Kustomization reconciliation
✔ applied revision main@sha1:` + hash + "\n"
	if out != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

func withSourceRef(t *testing.T, c client.Client) *kustomizev1.Kustomization {
	t.Helper()
	var k kustomizev1.Kustomization
	if err := c.Get(context.Background(), client.ObjectKey{Namespace: "flux-system", Name: "apps"}, &k); err != nil {
		t.Fatal(err)
	}
	k.Spec.SourceRef = kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "flux-system"}
	return &k
}

func TestReconcileNotReadyIsExitCodeOneWithTheFault(t *testing.T) {
	r := &reconciler{}
	c := controlled(metav1.ConditionFalse, "entra: AADSTS700213: subject unknown; fix: az identity federated-credential update")
	_, err := run(context.Background(), r.kustomization("apps"), c, r)
	f := fault.From(err)
	if f == nil || fault.ExitCode(err) != fault.ExitNo || f.Hop != fault.HopEntra || f.Fix != "az identity federated-credential update" || f.Seen != "AADSTS700213: subject unknown" {
		t.Errorf("%+v", f)
	}
}

func TestReconcileAllAsksForSourcesFirstAndLeavesSuspendedOnesAlone(t *testing.T) {
	for _, tt := range []struct {
		name        string
		all         bool
		status      []string
		await       bool
		ready       metav1.ConditionStatus
		want, lacks string
		exit        int
	}{
		{"a namespace", false, nil, false, metav1.ConditionTrue, "✔ GitRepository flux-system/flux-system annotated\n✔ Kustomization flux-system/apps annotated\n", "team", 0},
		{"every namespace", true, nil, false, metav1.ConditionTrue, "► Kustomization team/fresh is suspended\n", "fresh annotated", 0},
		{"what is not ready", false, []string{"ready=false"}, true, metav1.ConditionTrue, "✔ Kustomization flux-system/apps: applied revision main@sha1:" + hash + "\n", "GitRepository", 0},
		{"a failure", false, nil, true, metav1.ConditionFalse, "✔ GitRepository flux-system/flux-system: fetched revision", "apps: applied", fault.ExitNo},
		{"nothing", false, []string{"ready=unknown"}, true, metav1.ConditionTrue, "", "annotated", fault.ExitNo},
	} {
		r := &reconciler{}
		a := &allReconciler{reconciler: r, chosen: getter{all: tt.all, status: tt.status}, await: tt.await}
		out, err := run(context.Background(), a.reconcile, controlled(tt.ready, "Applied"), r)
		if fault.ExitCode(err) != tt.exit || !strings.Contains(out, tt.want) || strings.Contains(out, tt.lacks) {
			t.Errorf("%s: exit %d (%v), told\n%s", tt.name, fault.ExitCode(err), err, out)
		}
	}
}

func TestReconcileUnknownAndSuspendedAreExitCodeOne(t *testing.T) {
	r := &reconciler{}
	_, err := run(context.Background(), r.kustomization("nosuch"), reader(objects()...), r)
	if fault.ExitCode(err) != fault.ExitNo || !strings.Contains(err.Error(), "'nosuch' not found") {
		t.Errorf("%v", err)
	}
	objs := objects()
	objs[1].(*kustomizev1.Kustomization).Spec.Suspend = true
	_, err = run(context.Background(), r.kustomization("apps"), reader(objs...), r)
	if fault.ExitCode(err) != fault.ExitNo || !strings.Contains(err.Error(), "suspended") {
		t.Errorf("%v", err)
	}
}

func TestReconcileTimesOutWithWhatItLastSaw(t *testing.T) {
	r := &reconciler{}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	_, err := run(ctx, r.kustomization("apps"), reader(objects()...), r) // nobody handles the request
	if fault.ExitCode(err) != fault.ExitTimeout || !strings.Contains(err.Error(), "AADSTS700213") || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("exit %d: %v", fault.ExitCode(err), err)
	}
}
