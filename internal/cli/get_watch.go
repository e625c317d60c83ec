package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// How long a watch that broke waits before it begins again, the first time and at most.
const (
	firstReconnect = 200 * time.Millisecond
	lastReconnect  = 5 * time.Second
)

// follower prints objects as they change. What it has printed once it doesn't print again: a watch that breaks is begun
// anew with a list, which shows what was missed.
type follower struct {
	getter *getter
	kinds  []kind
	name   string

	mu     sync.Mutex
	width  []int
	header bool
	lost   bool // the reader was told that the watch is broken
}

// follow shows the objects and then each change until ctx ends. Ending it is no failure.
func (g *getter) follow(ctx context.Context, c client.WithWatch, name string, kinds ...kind) error {
	f := &follower{getter: g, kinds: kinds, name: name, header: !g.noHeader && (g.output == "table" || g.output == "wide")}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, k := range kinds {
		wg.Go(func() {
			if err := f.kind(ctx, c, k); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// kind follows one kind. Only a first list that fails is an error; later failures are waited out.
func (f *follower) kind(ctx context.Context, c client.WithWatch, k kind) error {
	shown := map[types.UID]client.Object{}
	wait := firstReconnect
	for first := true; ctx.Err() == nil; first = false {
		began := time.Now()
		err := f.round(ctx, c, k, shown)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && first {
			return err
		}
		if err != nil {
			f.tellLost(err)
		}
		if time.Since(began) > lastReconnect {
			wait = firstReconnect
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, lastReconnect)
	}
	return nil
}

// round lists, prints what is new since the round before, and watches until the watch ends.
func (f *follower) round(ctx context.Context, c client.WithWatch, k kind, shown map[types.UID]client.Object) error {
	g := f.getter
	selector, err := labels.Parse(g.labels)
	if err != nil {
		return err
	}
	namespace := g.kube.namespace
	if g.all {
		namespace = ""
	}
	opts := []client.ListOption{client.InNamespace(namespace), client.MatchingLabelsSelector{Selector: selector}}
	if f.name != "" {
		opts = append(opts, client.MatchingFields{"metadata.name": f.name})
	}
	list := k.list()
	if err := c.List(ctx, list, opts...); err != nil {
		return explainKube(err)
	}
	objects, err := itemsOf(list)
	if err != nil {
		return err
	}
	f.found()
	there := map[types.UID]bool{}
	for _, o := range objects {
		there[o.GetUID()] = true
		f.changed(k, o, shown)
	}
	for uid, o := range shown {
		if !there[uid] {
			f.deleted(k, o, shown)
		}
	}
	w, err := c.Watch(ctx, list, append(opts, client.ListOption(&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.GetResourceVersion()}}))...)
	if err != nil {
		return explainKube(err)
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		o, ok := e.Object.(client.Object)
		switch {
		case e.Type == watch.Error:
			return fmt.Errorf("the watch ended: %v", e.Object)
		case ok && e.Type == watch.Deleted:
			f.deleted(k, o, shown)
		case ok && (e.Type == watch.Added || e.Type == watch.Modified):
			f.changed(k, o, shown)
		}
	}
	return nil
}

// changed prints o unless it was printed as it is.
func (f *follower) changed(k kind, o client.Object, shown map[types.UID]client.Object) {
	last := shown[o.GetUID()]
	if last != nil && last.GetResourceVersion() == o.GetResourceVersion() {
		return
	}
	wanted, err := parseStatusSelector(f.getter.status)
	if err != nil || !wanted.match(k, o) {
		return
	}
	shown[o.GetUID()] = o
	event := watch.Modified
	if last == nil {
		event = watch.Added
	}
	f.print(k, o, event)
}

func (f *follower) deleted(k kind, o client.Object, shown map[types.UID]client.Object) {
	if shown[o.GetUID()] == nil {
		return
	}
	delete(shown, o.GetUID())
	f.print(k, o, watch.Deleted)
}

func (f *follower) print(k kind, o client.Object, event watch.EventType) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.getter.streams.Out
	switch f.getter.output {
	case "name":
		fmt.Fprintln(out, k.reference(o))
		return
	case "json":
		m, err := k.document(o)
		if err != nil {
			return // a typed object of the API always converts
		}
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(struct {
			Type   watch.EventType `json:"type"`
			Object map[string]any  `json:"object"`
		}{event, m}) // a reader that is gone ends the process by its signal
		return
	}
	with := f.getter.columns(f.kinds)
	row := k.row(o, with)
	if event == watch.Deleted {
		row[messageAt(with)] = "deleted"
	}
	t := table{rows: [][]string{row}, width: f.width}
	if f.header {
		t.headers = k.headers(with)
	}
	f.width = t.print(out, f.header)
	f.header = false
}

// tellLost says once that the cluster is out of reach, found that it is back.
func (f *follower) tellLost(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lost {
		return
	}
	f.lost = true
	text := err.Error()
	if ft := fault.From(err); ft != nil {
		text = ft.Seen
	}
	say(f.getter.streams, "◎", "%s; trying again until it is back", text)
}

func (f *follower) found() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lost {
		f.lost = false
		say(f.getter.streams, "✔", "connected again")
	}
}
