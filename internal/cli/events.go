package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// eventLister holds the flags of events.
type eventLister struct {
	streams  Streams
	kube     kubeFlags
	all      bool
	noHeader bool
	object   string
	types    []string
}

func newEvents(s Streams) *cobra.Command {
	l := &eventLister{streams: s}
	cmd := &cobra.Command{Use: "events", Short: "Show what was told about sources and Kustomizations, the latest last", Args: none}
	l.kube.add(cmd, s.Env)
	f := cmd.Flags()
	f.BoolVarP(&l.all, "all-namespaces", "A", false, "events of every namespace")
	f.BoolVar(&l.noHeader, "no-header", false, "leave the header out")
	f.StringVar(&l.object, "for", "", "only those about one object: Kustomization/NAME")
	f.StringSliceVar(&l.types, "types", nil, "only events of these types: Normal, Warning")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		if kind, name, ok := strings.Cut(l.object, "/"); l.object != "" && (!ok || kind == "" || name == "") {
			return usage(c, fmt.Errorf("--for: %q is not KIND/NAME", l.object))
		}
		ctx, cancel := l.kube.deadline(c)
		defer cancel()
		kc, err := l.kube.client()
		if err != nil {
			return err
		}
		return l.show(ctx, kc)
	}
	return cmd
}

func (l *eventLister) show(ctx context.Context, c client.Reader) error {
	namespace := l.kube.namespace
	if l.all {
		namespace = ""
	}
	var list corev1.EventList
	if err := c.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return explainKube(err)
	}
	events := slices.DeleteFunc(list.Items, func(e corev1.Event) bool { return !l.wanted(e) })
	slices.SortStableFunc(events, func(a, b corev1.Event) int { return seenAt(a).Compare(seenAt(b)) })
	if len(events) == 0 {
		where := fmt.Sprintf("%q namespace", l.kube.namespace)
		if l.all {
			where = "any namespace"
		}
		return &fault.Fault{Code: "SLU-KUBERNETES-011", Hop: fault.HopAPI, Exit: fault.ExitNo, Seen: "no events found in " + where,
			Why: "Kubernetes keeps events for an hour"}
	}
	t := table{headers: []string{"Last seen", "Type", "Reason", "Object", "Message"}}
	if l.all {
		t.headers = append([]string{"Namespace"}, t.headers...)
	}
	for _, e := range events {
		row := []string{duration.HumanDuration(time.Since(seenAt(e))), e.Type, e.Reason, e.InvolvedObject.Kind + "/" + e.InvolvedObject.Name, oneLine(e.Message)}
		if l.all {
			row = append([]string{e.Namespace}, row...)
		}
		t.rows = append(t.rows, row)
	}
	t.print(l.streams.Out, !l.noHeader)
	return nil
}

// wanted passes events about Flux's objects, or about the one that --for names.
func (l *eventLister) wanted(e corev1.Event) bool {
	if len(l.types) > 0 && !slices.ContainsFunc(l.types, func(t string) bool { return strings.EqualFold(t, e.Type) }) {
		return false
	}
	if kind, name, ok := strings.Cut(l.object, "/"); ok {
		if strings.EqualFold(kind, "ks") {
			kind = kustomizations.name
		}
		return strings.EqualFold(kind, e.InvolvedObject.Kind) && name == e.InvolvedObject.Name
	}
	group, _, _ := strings.Cut(e.InvolvedObject.APIVersion, "/")
	return strings.HasSuffix(group, ".toolkit.fluxcd.io")
}

func seenAt(e corev1.Event) time.Time {
	if e.Series != nil {
		return e.Series.LastObservedTime.Time
	}
	if !e.LastTimestamp.IsZero() {
		return e.LastTimestamp.Time
	}
	return e.EventTime.Time
}
