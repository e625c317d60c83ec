package cli

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/sluice-gitops/sluice/examples/aks"
	"github.com/sluice-gitops/sluice/internal/local"
)

// print writes the steps with their times. Some run side by side, so that the total is less than their sum.
func (w *stopwatch) print(out io.Writer, total time.Duration) {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, e := range w.steps {
		fmt.Fprintf(t, "%s\t%5.1f s\t%s\n", e.Step, e.Duration.Seconds(), e.Detail)
	}
	fmt.Fprintf(t, "in all\t%5.1f s\t\n", total.Seconds())
	t.Flush()
}

// next prints the sample's secret, where things are, and what to try.
func (u *upper) next(ctx context.Context, r *local.Running) {
	out := u.streams.Out
	value, sample := local.SampleSecret(ctx, r.Dir)
	if sample {
		fmt.Fprintf(out, "\nSecret %s/%s, decrypted in the cluster:\n  %s: %s\n", aks.SecretNamespace, aks.SecretName, aks.SecretKey, value)
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\nworking copy\t%s\n", r.Dir.WorkingCopy())
	fmt.Fprintf(t, "kubeconfig\t%s\n", r.Dir.Kubeconfig())
	fmt.Fprintf(t, "logs\t%s\n", r.Dir.Log("*"))
	if r.Record.Azure.KeyURL != "" {
		fmt.Fprintf(t, "key\t%s\n", r.Record.Azure.KeyURL)
	}
	t.Flush()
	fmt.Fprintf(out, "\nNext, in this shell:\n  eval \"$(%s)\"\n", u.invocation("env"))
	if sample {
		fmt.Fprintf(out, "  kubectl get secret %s -n %s -o jsonpath='{.data.*}' | base64 -d\n", aks.SecretName, aks.SecretNamespace)
		fmt.Fprintf(out, "  cd %s && sops edit %s && git commit -am 'change the secret' && git push\n", r.Dir.WorkingCopy(), aks.SecretPath)
	}
	fmt.Fprintf(out, "  %s get all -A\n  %s\n", orElse(u.streams.Program, "sluice"), u.invocation("down"))
}
