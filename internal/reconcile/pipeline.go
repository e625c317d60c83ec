package reconcile

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"

	"github.com/sluice-gitops/sluice/internal/apply"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/inventory"
	"github.com/sluice-gitops/sluice/internal/plan"
	"github.com/sluice-gitops/sluice/internal/redact"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/internal/sops"
)

// pipeline takes the attempt's revision through render, plan and apply, and leaves in the memory what the next attempt
// can skip by. It returns a summary of what was changed, empty for nothing.
//
// Every stage is asked to stop by ctx; nothing is undone when one fails, because what was applied is what Git says.
//
// A panic in it is this attempt's failure and nobody else's. Package controller-runtime would catch it, too, but print
// what it panicked with, which may be a document.
func (k *Kustomizations) pipeline(ctx context.Context, a *attempt) (summary string, err error) {
	defer func() {
		if p := recover(); p != nil {
			hop := fault.HopApply
			if a.stage == meta.BuildFailedReason {
				hop = fault.HopRender
			}
			summary, err = "", fault.Panicked(p, hop, "SLU-BUG-001")
		}
	}()
	return k.stages(ctx, a)
}

func (k *Kustomizations) stages(ctx context.Context, a *attempt) (summary string, err error) {
	a.mem.settled = false
	a.mem.inputs.clear()
	a.mem.drifted.Store(false)

	a.stage = meta.BuildFailedReason // keys and variables belong to the build, as in Flux
	// Who asked for this, or mends what failed, may have changed the Secret a moment ago.
	who, err := k.decrypter(ctx, a.obj, a.demanded || a.cond.fails(meta.ReadyCondition))
	if err != nil {
		return "", err
	}
	if who != nil && a.demanded {
		who.forget()
	}
	vars, secrets, err := k.variables(ctx, a.obj)
	if err != nil {
		return "", err
	}
	hidden := redact.New(secrets...)
	a.redact = hidden.Redact

	a.stage = meta.BuildFailedReason
	guard, sight := k.guard(a), k.Revisions.sight(a.rev)
	rendered, err := render.Render(ctx, render.Request{
		Tree: sight.artifact, Path: a.flux.Spec.Path, Kustomization: a.flux,
		Open: guard.opener(who.opener()), Encrypted: sops.IsEncrypted, Vars: vars,
		LooseVars: !k.Options.Features.On(StrictPostBuildSubstitutions),
	})
	if err != nil {
		if who != nil && refused(err) {
			who.forget()
		}
		return "", err
	}
	a.stage = meta.ReconciliationFailedReason
	hidden = redact.New(append(rendered.Secrets, secrets...)...)
	a.redact = hidden.Redact

	if a.digest, err = digestOf(rendered.Objects); err != nil {
		return "", err
	}
	a.mem.digest = a.digest // also what a later look at its health is about

	owner := plan.Owner{Name: a.obj.Name, Namespace: a.obj.Namespace}
	plan.Own(rendered.Objects, owner.Name, owner.Namespace)
	old, err := inventory.FromStatus(a.obj.Status.Inventory)
	if err != nil {
		return "", fmt.Errorf("status.inventory: %w", err)
	}
	ignore, err := ignoreOf(a.obj)
	if err != nil {
		return "", err
	}
	k.live.Ignoring(owner, ignore)
	work, err := plan.New(rendered.Objects, old, plan.Options{
		Owner: owner, Force: a.obj.Spec.Force, Prune: a.obj.Spec.Prune, Ignore: ignore,
		TakeOver: plan.Overriding(k.Options.OverrideManagers), Early: k.Options.CustomApplyStageKinds,
	})
	if err != nil {
		return "", err
	}
	target, err := k.target(ctx, a.obj)
	if err != nil {
		return "", err
	}
	applier := target.applier.Redacting(hidden)
	if a.obj.Spec.KubeConfig == nil && !a.mem.verifyDue(a.started) { // the watches are of our own cluster
		applier = applier.Knowing(k.live)
	}
	result, err := applier.Apply(ctx, work, k.saveInventory(a), nil)
	if err == nil || result.Inventory.Len() > 0 || a.obj.Status.Inventory != nil {
		a.obj.Status.Inventory = result.Inventory.Status()
	}
	if err != nil {
		return "", err
	}

	// With variables from the cluster, the tree alone does not say whether a render would give the same again.
	if a.obj.Spec.PostBuild == nil || len(a.obj.Spec.PostBuild.SubstituteFrom) == 0 {
		a.mem.inputs.set(rendered.Inputs, guard.read(), sight)
	}
	a.mem.revision, a.mem.applied = a.rev.Name, result.Inventory.Entries()
	a.mem.vault, a.mem.keys = who.askedCloud(), who.fingerprint()
	a.mem.checkAt = a.started.Add(a.obj.Spec.Interval.Duration)
	a.mem.verifyAt = a.started.Add(k.Options.VerifyInterval - rand.N(k.Options.VerifyInterval/10+1)) // not all at once
	summary = summarize(result.Changed())
	if summary != "" { // told now, whatever becomes of their health
		k.Events.step(a.obj, a.rev.Name, a.origin, summary)
	}
	a.expect(result.Applied(), target.reader, summary)
	return summary, nil
}

// saveInventory stores the union of the old and the new inventory before the first write, in the same status write
// that says that work is under way.
func (k *Kustomizations) saveInventory(a *attempt) apply.Save {
	return func(ctx context.Context, all inventory.Set) error {
		a.obj.Status.Inventory = all.Status()
		ready := *a.cond.list
		a.cond.progressing("Applying revision " + a.rev.Name)
		err := k.writeStatus(ctx, a)
		if err != nil {
			*a.cond.list = ready
			return &fault.Fault{
				Code: "SLU-KUBERNETES-003", Hop: fault.HopAPI, Object: "Kustomization/" + a.name.String(),
				Seen: "the inventory cannot be stored, so nothing was applied", Why: err.Error(),
				Fix:    "look at the API server; the next attempt follows by itself",
				Reason: meta.ReconciliationFailedReason, Err: err,
			}
		}
		return nil
	}
}

// maxNamed is how many changes a summary names.
const maxNamed = 20

func summarize(changes []plan.Change) string {
	var lines []string
	for i, c := range changes {
		if i == maxNamed {
			lines = append(lines, fmt.Sprintf("and %d more", len(changes)-maxNamed))
			break
		}
		lines = append(lines, c.ID.Display()+" "+string(c.Action))
	}
	return strings.Join(lines, "\n")
}
