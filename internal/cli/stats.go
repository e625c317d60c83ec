package cli

import (
	"context"
	"fmt"

	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/spf13/cobra"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func newStats(s Streams) *cobra.Command {
	var kube kubeFlags
	var all bool
	cmd := &cobra.Command{Use: "stats", Short: "Count objects that run, fail and are suspended", Args: none}
	kube.add(cmd, s.Env)
	cmd.Flags().BoolVarP(&all, "all-namespaces", "A", false, "objects of every namespace")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		ctx, cancel := kube.deadline(c)
		defer cancel()
		kc, err := kube.client()
		if err != nil {
			return err
		}
		namespace := kube.namespace
		if all {
			namespace = ""
		}
		return stats(ctx, s, kc, namespace)
	}
	return cmd
}

// stats prints flux's columns. A kind that the cluster doesn't know has no row.
func stats(ctx context.Context, s Streams, c client.Reader, namespace string) error {
	t := table{headers: []string{"Reconcilers", "Running", "Failing", "Suspended", "Storage"}}
	for _, k := range []kind{gitRepositories, ociRepositories, buckets, kustomizations} {
		objects, err := k.fetch(ctx, c, namespace, "")
		if apimeta.IsNoMatchError(err) {
			continue
		}
		if err != nil {
			return err
		}
		failing, suspended, size := 0, 0, int64(0)
		for _, o := range objects {
			halted, conditions, _ := k.spec(o)
			if halted {
				suspended++
			}
			if apimeta.IsStatusConditionFalse(conditions, meta.ReadyCondition) {
				failing++
			}
			size += storedSize(o)
		}
		storage := "-"
		if size > 0 {
			storage = humanSize(size)
		}
		t.rows = append(t.rows, []string{k.name, fmt.Sprint(len(objects) - suspended), fmt.Sprint(failing), fmt.Sprint(suspended), storage})
	}
	t.print(s.Out, true)
	return nil
}

func storedSize(o client.Object) int64 {
	src, ok := o.(sourcev1.Source)
	if !ok || src.GetArtifact() == nil || src.GetArtifact().Size == nil {
		return 0
	}
	return *src.GetArtifact().Size
}

func humanSize(n int64) string {
	size, unit := float64(n), 0
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	for size >= 1024 && unit < len(units)-1 {
		size, unit = size/1024, unit+1
	}
	return fmt.Sprintf("%.1f %s", size, units[unit])
}
