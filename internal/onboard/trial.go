package onboard

import (
	"context"
	"fmt"
	"path"
	"strings"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/githost/gitpush"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/source"
)

// TryDecryption proves that the cluster opens what is encrypted in the repository: every Kustomization that follows it
// and decrypts is asked to reconcile now, for which the controller renews its token, forgets its data keys and walks the
// whole chain, and has to come out Ready at the head's revision. Where nothing is encrypted it says that nothing was
// proved; where something is and nobody decrypts it, that is a fault.
func TryDecryption(ctx context.Context, r *Request, head *gitpush.Head) error {
	files, err := encrypted(head.Tree(), path.Clean("/" + r.Manifests.Sync.Path)[1:])
	if err != nil {
		return err
	}
	if len(files) == 0 {
		r.Say("⚠", "no encrypted file below %s yet: decryption was not tried", r.Manifests.Sync.Path)
		return nil
	}
	name := r.Manifests.Sync.Name
	if name == "" {
		name = r.namespace()
	}
	var list kustomizev1.KustomizationList
	if err := r.Client.List(ctx, &list); err != nil {
		return err
	}
	var opened []string
	covered := map[string]bool{}
	for _, k := range list.Items {
		if k.Spec.Decryption == nil || k.Spec.Suspend || k.Spec.SourceRef.Name != name || k.Spec.SourceRef.Namespace != "" && k.Spec.SourceRef.Namespace != r.namespace() {
			continue
		}
		if k.Spec.SourceRef.Namespace == "" && k.Namespace != r.namespace() {
			continue
		}
		key := client.ObjectKeyFromObject(&k)
		r.Say("◎", "trial decryption by Kustomization %q", key)
		if err := r.tryOne(ctx, key); err != nil {
			return err
		}
		opened = append(opened, key.String())
		for _, f := range files {
			if under(f, path.Clean("/" + k.Spec.Path)[1:]) {
				covered[f] = true
			}
		}
	}
	if len(covered) == 0 {
		return &fault.Fault{Code: "SLU-SOPS-030", Hop: fault.HopSOPS, File: files[0], Exit: fault.ExitNo, Seen: "nobody decrypts it",
			Why: fmt.Sprintf("%d encrypted files, and no Kustomization with spec.decryption whose path holds one", len(files)),
			Fix: "give its Kustomization this, and push: spec.decryption: {provider: sops}"}
	}
	r.Say("✔", "%s opened with the cluster's own identity by %s", plural(len(covered), "encrypted file"), strings.Join(opened, ", "))
	return nil
}

// tryOne asks one Kustomization to reconcile and waits for its verdict, which a first failure makes.
func (r *Request) tryOne(ctx context.Context, key client.ObjectKey) error {
	at := time.Now().Format(time.RFC3339Nano)
	if err := request(ctx, r.Client, &kustomizev1.Kustomization{ObjectMeta: meta1(key)}, at); err != nil {
		return err
	}
	last := "nothing was reported yet"
	for {
		var k kustomizev1.Kustomization
		if err := r.Client.Get(ctx, key, &k); err != nil {
			return err
		}
		if c := apimeta.FindStatusCondition(k.Status.Conditions, meta.ReadyCondition); c != nil {
			last = c.Message
			switch {
			case k.Status.LastHandledReconcileAt != at:
			case c.Status == "True":
				return nil
			case c.Status == "False" && c.Reason != meta.DependencyNotReadyReason:
				return &fault.Fault{Code: "SLU-SOPS-031", Hop: fault.HopSOPS, Object: "Kustomization/" + key.String(), Exit: fault.ExitNo,
					Seen: "the trial decryption failed", Why: strings.Join(strings.Fields(c.Message), " "), Fix: "sluice get ks " + key.Name + " -n " + key.Namespace + " says more; mend it and run the same command again"}
			}
		}
		if pause(ctx, 100*time.Millisecond) != nil {
			return &fault.Fault{Code: "SLU-HEALTH-032", Hop: fault.HopHealth, Object: "Kustomization/" + key.String(), Exit: fault.ExitTimeout,
				Seen: "no verdict about the trial decryption in time", Why: "last seen: " + strings.Join(strings.Fields(last), " "), Fix: "wait longer: --timeout 15m", Err: ctx.Err()}
		}
	}
}

// encrypted lists the SOPS documents in a folder, itself and below.
func encrypted(t source.Tree, folder string) ([]string, error) {
	if folder == "" {
		folder = "."
	}
	entries, _, err := t.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, e := range entries {
		name := path.Join(folder, e.Name)
		if e.Dir {
			below, err := encrypted(t, name)
			if err != nil {
				return nil, err
			}
			found = append(found, below...)
			continue
		}
		data, _, err := t.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if sops.IsEncrypted(name, data) {
			found = append(found, name)
		}
	}
	return found, nil
}

func under(file, folder string) bool { return folder == "" || strings.HasPrefix(file, folder+"/") }

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
