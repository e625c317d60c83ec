// Package apply carries a plan out by server-side apply. It is the only package that changes managed objects.
//
// It asks the API server what each object would become, lets plan decide, and writes what differs: stage after stage,
// in parallel within a stage. It refuses to write anything of a stage that the API server would not take whole, to
// write anything before the inventory that covers it is stored, and to delete what it cannot be shown to own.
//
// What one object costs in requests:
//
//	skipped by its manifest     0
//	settled (see Known)         0
//	unchanged                   1  dry-run (see settled)
//	unchanged, written just now 2  dry-run, read
//	created                     2  dry-run, apply
//	created in a new namespace  1  apply
//	created alone in its stage  2  read of metadata (none for a namespace, which the Known knows), apply
//	configured                  3  dry-run, read, apply
//	taken over from kubectl     3  dry-run, patch of metadata, apply
//	replaced                    5  dry-run, read, delete, read until gone, apply
//	pruned                      2  read of metadata, delete
package apply

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/sluice-gitops/sluice/internal/inventory"
	"github.com/sluice-gitops/sluice/internal/plan"
)

// Redactor hides secret values in texts; redact.Redactor is one.
type Redactor interface {
	Redact(string) string
}

// Options tune an Applier. The zero value is ready to use.
type Options struct {
	FieldManager string          // "kustomize-controller" if empty
	Concurrency  int             // requests at a time, 16 if 0
	Mapper       meta.RESTMapper // kinds to resources, shared between appliers of one cluster; made if nil
	StageTimeout time.Duration   // how long definitions may take until they can be used, 60 s if 0

	MigrateAPIVersion bool // see migrate
}

// Applier applies to one cluster as one identity. It is safe for concurrent use.
type Applier struct {
	Options
	objects  dynamic.Interface
	metadata metadata.Interface
	hide     Redactor
	known    Known
}

// New returns an Applier that speaks to the API server of cfg, as the user that cfg names (or impersonates).
func New(cfg *rest.Config, opts Options) (*Applier, error) {
	if opts.FieldManager == "" {
		opts.FieldManager = "kustomize-controller"
	}
	if opts.Concurrency <= 0 {
		opts.Concurrency = 16
	}
	if opts.StageTimeout <= 0 {
		opts.StageTimeout = time.Minute
	}
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1 // the API server's own priority and fairness is the throttle
	cfg.WarningHandler, cfg.WarningHandlerWithContext = nil, warnings{}
	cfg.Wrap(observe)
	httpClient, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("client of the API server: %w", err)
	}
	a := &Applier{Options: opts, hide: nothing{}, known: ignorance{}}
	if a.objects, err = dynamic.NewForConfigAndClient(cfg, httpClient); err != nil {
		return nil, fmt.Errorf("client of the API server: %w", err)
	}
	if a.metadata, err = metadata.NewForConfigAndClient(metadata.ConfigFor(cfg), httpClient); err != nil {
		return nil, fmt.Errorf("client of the API server: %w", err)
	}
	if a.Mapper == nil {
		if a.Mapper, err = apiutil.NewDynamicRESTMapper(cfg, httpClient); err != nil {
			return nil, fmt.Errorf("discovery: %w", err)
		}
	}
	return a, nil
}

// Redacting returns an Applier that hides, in every fault and warning, what r hides. The API server quotes values of any
// kind of object, so r must know every secret value that the objects may hold.
func (a *Applier) Redacting(r Redactor) *Applier {
	b := *a
	b.hide = r
	return &b
}

type nothing struct{}

func (nothing) Redact(s string) string { return s }

// Save stores an inventory before objects are written. An error stops the run; nothing was written yet then.
type Save func(context.Context, inventory.Set) error

// On is told of each object as soon as its outcome is certain. err is nil or the object's *fault.Fault. It is never
// called twice at the same time.
type On func(plan.Change, error)

// Result is what was done, complete or not.
type Result struct {
	Changes   []plan.Change // what came to pass, in plan order, pruning last
	Inventory inventory.Set // what status.inventory must hold now: nothing that may exist is missing

	Terminating []inventory.Entry // deleted, and still there after PruneOptions.Wait
}

// Applied returns what was applied or found as desired, skipped objects left out: what health is judged of.
func (r Result) Applied() []inventory.Entry {
	var entries []inventory.Entry
	for _, c := range r.Changes {
		switch c.Action {
		case plan.Created, plan.Configured, plan.Replaced, plan.Unchanged:
			entries = append(entries, inventory.Entry{ID: c.ID, Version: c.Version})
		}
	}
	return entries
}

// Changed returns the changes that wrote.
func (r Result) Changed() []plan.Change {
	var changes []plan.Change
	for _, c := range r.Changes {
		if c.Writes() {
			changes = append(changes, c)
		}
	}
	return changes
}
