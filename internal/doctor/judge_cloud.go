package doctor

import (
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-gitops/sluice/internal/azure/cloud"
	"github.com/sluice-gitops/sluice/internal/fault"
)

// elsewhere mends a controller that signs in to another cloud than that of the files' vault. What the webhook says of the
// cluster it runs in is true, and then it is the vault that is in the wrong cloud; what somebody wrote into the Deployment,
// or left out, is put right.
func (f *Facts) elsewhere(fa *fault.Fault) verdict {
	expected := envAuthority + " " + f.Cloud.Authority
	fa.Object = "Deployment/" + f.Controller.String()
	if f.Deployment == nil {
		return broken(fa, expected, nil)
	}
	containers := slices.Clone(f.Deployment.Spec.Template.Spec.Containers)
	c := manager(containers)
	at := slices.IndexFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == envAuthority })
	if at < 0 && f.Authority != "" {
		own, _ := cloud.OfAuthority(f.Authority)
		fa.Why += "; the workload identity webhook of the cluster says so, because the cluster is in " + own.Name
		fa.Fix = "name a key of a vault in " + own.Name + " in .sops.yaml, then: sluice secrets updatekeys <file>"
		return broken(fa, "a vault in "+own.Name, &Remedy{Commands: []string{fa.Fix}})
	}
	c.Env = slices.Clone(c.Env)
	if at < 0 {
		c.Env = append(c.Env, corev1.EnvVar{Name: envAuthority})
		at = len(c.Env) - 1
	}
	c.Env[at] = corev1.EnvVar{Name: envAuthority, Value: f.Cloud.Authority}
	fa.Fix = fmt.Sprintf("kubectl set env -n %s deployment/%s %s=%s", f.Controller.Namespace, f.Controller.Name, envAuthority, f.Cloud.Authority)
	return broken(fa, expected, &Remedy{Commands: []string{fa.Fix}, Keep: keepPatches, Safe: true, Patch: &Patch{
		"apps/v1", "Deployment", f.Controller.Namespace, f.Controller.Name,
		map[string]any{"spec": map[string]any{"template": map[string]any{"spec": map[string]any{"containers": plain(containers)}}}},
	}})
}

// plain is v as JSON has it: a merge patch replaces lists as a whole.
func plain(v any) (out any) {
	raw, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	if err != nil {
		panic(err) // an API type that was read as JSON
	}
	return out
}
