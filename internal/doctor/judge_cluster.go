package doctor

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sluice-gitops/sluice/internal/azure/identity"
	"github.com/sluice-gitops/sluice/internal/fault"
)

const keepPatches = "the same belongs into <cluster path>/flux-system/patches/ in Git, or the next reconcile takes it back"

func judgeDeployment(f *Facts) verdict {
	switch {
	case f.PerObject:
		return skipped("the Kustomization decrypts as ServiceAccount " + f.Account.String() + ", not as the controller's pod")
	case !f.usesAzure():
		return skipped(noFileOverAzure)
	case f.DeploymentErr != nil:
		if v, ok := forbidden(f.DeploymentErr, "get", "deployments", f.Controller.Namespace); ok {
			return v
		}
		return broken(&fault.Fault{
			Code: "SLU-KUBERNETES-060", Hop: fault.HopAPI, Object: "Deployment/" + f.Controller.String(), Err: f.DeploymentErr,
			Seen: "the controller's Deployment cannot be read: " + f.DeploymentErr.Error(), Why: "nothing reconciles this cluster, or the controller has another name or namespace",
			Fix: "sluice doctor --controller-namespace <namespace> --kustomization " + f.Object.Name + " -n " + f.Object.Namespace,
		}, "a Deployment "+f.Controller.String(), nil)
	}
	if f.Deployment.Spec.Template.Labels[useLabel] == "true" {
		return fine(useLabel + `: "true" on the pod template`)
	}
	seen := "the pod template of Deployment " + f.Controller.String() + " has no label " + useLabel
	if v, ok := f.Deployment.Spec.Template.Labels[useLabel]; ok {
		seen = fmt.Sprintf("the pod template's label %s is %q", useLabel, v)
	} else if f.Deployment.Labels[useLabel] != "" {
		seen += "; the Deployment itself has it, where it has no effect"
	} else if f.ServiceAcc != nil && f.ServiceAcc.Labels[useLabel] != "" {
		seen += "; the ServiceAccount has it, where it has no effect"
	}
	fa := identity.Absent(seen)
	fa.Object = "Deployment/" + f.Controller.String()
	fa.Fix = fmt.Sprintf(`kubectl patch deployment -n %s %s --type merge -p '{"spec":{"template":{"metadata":{"labels":{"%s":"true"}}}}}'`,
		f.Controller.Namespace, f.Controller.Name, useLabel)
	return broken(fa, useLabel+`: "true" on the pod template`, f.template("labels", map[string]any{useLabel: "true"}, fa.Fix, keepPatches))
}

// template is a patch of the controller's pod template's metadata, which rolls out a new pod.
func (f *Facts) template(what string, values map[string]any, command, keep string) *Remedy {
	return &Remedy{Commands: []string{command}, Keep: keep, Safe: true, Patch: &Patch{
		"apps/v1", "Deployment", f.Controller.Namespace, f.Controller.Name,
		map[string]any{"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{what: values}}}},
	}}
}

// restart is a remedy that gives the controller a new pod.
func (f *Facts) restart() *Remedy {
	return f.template("annotations", map[string]any{"kubectl.kubernetes.io/restartedAt": time.Now().UTC().Format(time.RFC3339)},
		fmt.Sprintf("kubectl rollout restart -n %s deployment/%s", f.Controller.Namespace, f.Controller.Name), "")
}

// annotate is a remedy that sets one annotation of the account.
func (f *Facts) annotate(key, value string) *Remedy {
	return &Remedy{
		Commands: []string{fmt.Sprintf("kubectl annotate serviceaccount -n %s %s --overwrite %s=%s", f.Account.Namespace, f.Account.Name, key, value)},
		Keep:     keepPatches, Safe: true,
		Patch: &Patch{"v1", "ServiceAccount", f.Account.Namespace, f.Account.Name,
			map[string]any{"metadata": map[string]any{"annotations": map[string]any{key: value}}}},
	}
}

func judgeAccount(f *Facts) verdict {
	if !f.usesAzure() {
		return skipped(noFileOverAzure)
	}
	if f.ServiceAccErr != nil {
		if v, ok := forbidden(f.ServiceAccErr, "get", "serviceaccounts", f.Account.Namespace); ok {
			return v
		}
		field := ""
		if f.PerObject {
			field = "spec.decryption.serviceAccountName"
		}
		return broken(identity.Account(f.Account).Unread(f.ServiceAccErr, field), "the ServiceAccount "+f.Account.String(), nil)
	}
	for _, a := range []struct{ key, value, sample string }{
		{clientAnnotation, f.ServiceAcc.Annotations[clientAnnotation], "$(az identity show -g <group> -n <identity> --query clientId -o tsv)"},
		{tenantAnnotation, f.ServiceAcc.Annotations[tenantAnnotation], "$(az account show --query tenantId -o tsv)"},
	} {
		if a.value != "" || a.key == tenantAnnotation && !f.PerObject && (f.Pod.Env[envTenant] != "" || f.Pod.Simulated != "") {
			continue // the webhook knows the cluster's own tenant
		}
		fa := identity.Account(f.Account).Unannotated(a.key)
		r := f.annotate(a.key, a.sample)
		if c := f.Azure.Candidate; c != nil {
			r = f.annotate(a.key, map[string]string{clientAnnotation: c.ClientID, tenantAnnotation: c.TenantID}[a.key])
		} else if id := f.Azure.identityOf(f.ClientID); id != nil && a.key == tenantAnnotation {
			r = f.annotate(a.key, id.TenantID)
		} else {
			r.Patch, r.Safe = nil, false // which identity is not for a doctor to guess
		}
		fa.Fix = r.Commands[0]
		return broken(fa, "the annotation "+a.key, r)
	}
	if fa := f.exchangeFault("service account"); fa != nil {
		return broken(fa, "a tenant id in "+tenantAnnotation, f.tenantRemedy(fa))
	}
	return fine(fmt.Sprintf("%s names client %s", f.Account, f.ClientID))
}

// tenantRemedy annotates the account with the tenant of the identity that it names.
func (f *Facts) tenantRemedy(fa *fault.Fault) *Remedy {
	id := f.Azure.identityOf(f.ClientID)
	if id == nil {
		return nil
	}
	r := f.annotate(tenantAnnotation, id.TenantID)
	fa.Fix = r.Commands[0]
	return r
}

func judgePod(f *Facts) verdict {
	switch p := &f.Pod; {
	case f.PerObject:
		return skipped("the controller asks for a token of ServiceAccount " + f.Account.String() + " itself")
	case !f.usesAzure():
		return skipped(noFileOverAzure)
	case f.Deployment == nil && !p.Own:
		return unseen("get on deployments in namespace " + f.Controller.Namespace)
	case errors.Is(p.Err, errNoPod):
		fa := &fault.Fault{
			Code: "SLU-IDENTITY-060", Hop: fault.HopIdentity, Object: "Deployment/" + f.Controller.String(), Seen: "no pod of it is running",
			Why: "it has no replicas, its image cannot be had, it does not start, or the webhook refuses its pods",
			Fix: fmt.Sprintf("kubectl describe pods -n %s -l app=%s", f.Controller.Namespace, f.Controller.Name),
		}
		return broken(fa, "a running pod", nil)
	case p.Err != nil:
		if v, ok := forbidden(p.Err, "list", "pods", f.Controller.Namespace); ok {
			return v
		}
		return unseen("list on pods in namespace " + f.Controller.Namespace + ": " + p.Err.Error())
	case p.Simulated != "":
		return unseen("a real node: " + p.Simulated + " only simulates the pod, and what its process was given is not in the cluster")
	}
	return f.judgeRunning()
}

// judgeRunning holds the running pod against what Deployment and ServiceAccount ask for.
func (f *Facts) judgeRunning() verdict {
	p := &f.Pod
	const expected = "the label, the AZURE_* environment and a projected token"
	stale := func(seen, why string) verdict {
		fa := identity.Absent("pod " + p.Name + ": " + seen)
		fa.Why = why
		r := f.restart()
		fa.Fix = r.Commands[0]
		return broken(fa, expected, r)
	}
	var missing []string
	for _, name := range []string{envClient, envTenant, envTokenFile} {
		if p.Env[name] == "" {
			missing = append(missing, name)
		}
	}
	switch {
	case p.Labels[useLabel] != "true":
		return stale("it lacks the label "+useLabel, "it was started before the pod template got the label")
	case len(missing) > 0:
		if c := f.cluster(); c != nil && !c.WorkloadIdentity {
			return f.switchedOff(c, "pod "+p.Name+" has no "+strings.Join(missing, ", ")+", and workload identity is off on cluster "+c.Name)
		}
		return stale(strings.Join(missing, ", ")+" not set", "it was started before the ServiceAccount got its annotations, or while the workload identity webhook was away")
	case p.Env[envClient] != f.ClientID:
		return stale(fmt.Sprintf("%s is %s, the ServiceAccount names %s", envClient, p.Env[envClient], f.ClientID),
			"the annotation was changed after the pod was started")
	case p.Env[envTenant] != f.TenantID:
		return stale(fmt.Sprintf("%s is %s, the ServiceAccount names %s", envTenant, p.Env[envTenant], f.TenantID),
			"the annotation was changed after the pod was started")
	case !p.Own && !f.exchanges(p.Audience) || !p.Projected:
		return stale("no token of audience "+strings.Join(f.Cloud.Audiences(), " or ")+" is mounted at "+p.Env[envTokenFile],
			"the variables were set by hand, or by a webhook of another version")
	}
	if fa := identity.OtherCloud(f.signIn(), f.Cloud.VaultScope()); fa != nil {
		return f.elsewhere(fa)
	}
	return fine(p.Name + " has label, environment and token")
}

func keysOf(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
