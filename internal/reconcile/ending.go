package reconcile

import (
	"fmt"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// ending is the failure of an attempt that applied what is being deleted: an object that Git wants and that ends when
// its finalizers let go of it. The watch that shows its end wakes the Kustomization, and it is made again. Of objects in
// other clusters nothing is known.
func (k *Kustomizations) ending(a *attempt) error {
	if a.obj.Spec.KubeConfig != nil {
		return nil
	}
	going := k.live.Ending(a.mem.applied)
	if len(going) == 0 {
		return nil
	}
	o, more := going[0], ""
	if len(going) > 1 {
		more = fmt.Sprintf(" (and %d more)", len(going)-1)
	}
	in := ""
	if o.Namespace != "" {
		in = " -n " + o.Namespace
	}
	return &fault.Fault{
		Code: "SLU-APPLY-009", Hop: fault.HopApply, Object: o.Display(), Reason: meta.ReconciliationFailedReason,
		Seen: "it is being deleted" + more, Why: "Git wants it, but it can be made again only when its deletion is finished; finalizers may hold it",
		Fix: "kubectl get " + strings.ToLower(o.Kind) + " " + o.Name + in + " -o jsonpath='{.metadata.finalizers} {.status.conditions}'",
	}
}
