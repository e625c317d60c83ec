package doctor

import (
	"context"
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/sluice-gitops/sluice/internal/azure/cloud"
	"github.com/sluice-gitops/sluice/internal/azure/identity"
)

// The names of AKS's workload identity webhook, and the node annotation of kwok, which simulates nodes.
const (
	useLabel         = identity.UseLabel
	clientAnnotation = identity.ClientAnnotation
	tenantAnnotation = identity.TenantAnnotation
	simulatedNode    = "kwok.x-k8s.io/node"

	envClient    = "AZURE_CLIENT_ID"
	envTenant    = "AZURE_TENANT_ID"
	envTokenFile = "AZURE_FEDERATED_TOKEN_FILE"
	envAuthority = "AZURE_AUTHORITY_HOST"
)

var errNoPod = errors.New("no pod of it is running")

// gatherCluster reads the Deployment, its ServiceAccount and a running pod. Where the Kustomization names a ServiceAccount
// of its own, that is the one that counts, and no pod is involved: its tokens are asked for one by one.
func gatherCluster(ctx context.Context, o Options, f *Facts) {
	if d := f.Kustomization.Spec.Decryption; d != nil && d.ServiceAccountName != "" {
		f.PerObject, f.Account = true, namespaced(f.Object.Namespace, d.ServiceAccountName)
	}
	var deployment appsv1.Deployment
	if err := o.Client.Get(ctx, f.Controller, &deployment); err != nil {
		f.DeploymentErr = err
	} else {
		f.Deployment = &deployment
	}
	if !f.PerObject {
		f.Account = namespaced(f.Controller.Namespace, f.Controller.Name)
		if f.Deployment != nil && f.Deployment.Spec.Template.Spec.ServiceAccountName != "" {
			f.Account.Name = f.Deployment.Spec.Template.Spec.ServiceAccountName
		}
	}
	var sa corev1.ServiceAccount
	if err := o.Client.Get(ctx, f.Account, &sa); err != nil {
		f.ServiceAccErr = err
	} else {
		f.ServiceAcc = &sa
		f.ClientID, f.TenantID = sa.Annotations[clientAnnotation], sa.Annotations[tenantAnnotation]
	}
	if f.PerObject {
		f.gatherAuthority(ctx, o)
		return
	}
	if o.Pod != nil {
		f.Pod = PodFacts{Own: true, Name: "this process", Projected: o.Pod.TokenFile != "", Labels: map[string]string{useLabel: "true"},
			Env: map[string]string{envClient: o.Pod.ClientID, envTenant: o.Pod.TenantID, envTokenFile: o.Pod.TokenFile, envAuthority: o.AuthorityHost}}
	} else if f.Deployment != nil {
		gatherPod(ctx, o, f)
	}
	if f.TenantID == "" {
		f.TenantID = f.Pod.Env[envTenant] // the webhook knows the cluster's own tenant
	}
	if f.ServiceAcc == nil {
		f.ClientID = f.Pod.Env[envClient] // what the webhook read where this user may not
	}
	f.noteAuthority()
}

// noteAuthority takes over where the process of Pod signs in. A pod without any of the variables is not one that the
// webhook saw, and says nothing.
func (f *Facts) noteAuthority() {
	p := &f.Pod
	f.authority = p.Own || p.Simulated == "" && p.Env[envClient] != ""
	f.Authority = p.Env[envAuthority]
}

// gatherAuthority reads where the controller's process signs in, for tokens that are not its pod's: it may have been told
// by its environment all the same.
func (f *Facts) gatherAuthority(ctx context.Context, o Options) {
	if o.Pod != nil {
		f.authority, f.Authority = true, o.AuthorityHost
		return
	}
	if f.Deployment == nil {
		return
	}
	gatherPod(ctx, o, f)
	f.noteAuthority()
	f.Pod = PodFacts{}
}

// settleCloud decides in which of Azure's clouds the chain belongs: where the files' vaults are, else where the controller
// signs in. A chain that shows neither is taken to be in the public cloud.
func (f *Facts) settleCloud(o Options) {
	own := f.Authority
	if !f.authority {
		own = o.AuthorityHost
	}
	f.Cloud, _ = cloud.OfAuthority(own)
	for _, id := range f.vaultKeys() {
		if c, ok := cloud.OfVault(id.Vault); ok {
			f.Cloud = c
			break
		}
	}
	if f.Cloud.Name == "" {
		f.Cloud = cloud.Public
	}
	if f.authority {
		return
	}
	if f.Authority = o.AuthorityHost; f.Authority == "" {
		f.Authority = f.Cloud.Authority
	}
}

// gatherPod reads the newest running pod of the Deployment as the API server has it, after the webhook.
func gatherPod(ctx context.Context, o Options, f *Facts) {
	selector, err := metav1.LabelSelectorAsSelector(f.Deployment.Spec.Selector)
	if err != nil {
		f.Pod.Err = err
		return
	}
	var pods corev1.PodList
	if err := o.Client.List(ctx, &pods, client.InNamespace(f.Controller.Namespace), client.MatchingLabelsSelector{Selector: selector}); err != nil {
		f.Pod.Err = err
		return
	}
	pods.Items = slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool { return p.Status.Phase != corev1.PodRunning || p.DeletionTimestamp != nil })
	if len(pods.Items) == 0 {
		f.Pod.Err = errNoPod
		return
	}
	slices.SortFunc(pods.Items, func(a, b corev1.Pod) int { return b.CreationTimestamp.Compare(a.CreationTimestamp.Time) })
	p := &pods.Items[0]
	f.Pod.Name, f.Pod.Labels, f.Pod.Env = p.Name, p.Labels, map[string]string{}
	c := manager(p.Spec.Containers)
	for _, e := range c.Env {
		switch e.Name {
		case envClient, envTenant, envTokenFile, envAuthority:
			f.Pod.Env[e.Name] = e.Value
		}
	}
	f.Pod.Audience, f.Pod.Projected = projected(p, c, f.Pod.Env[envTokenFile])
	var node corev1.Node
	if p.Spec.NodeName != "" && o.Client.Get(ctx, client.ObjectKey{Name: p.Spec.NodeName}, &node) == nil && node.Annotations[simulatedNode] != "" {
		f.Pod.Simulated = p.Spec.NodeName
	}
}

func manager(cs []corev1.Container) *corev1.Container {
	if i := slices.IndexFunc(cs, func(c corev1.Container) bool { return c.Name == "manager" }); i >= 0 {
		return &cs[i]
	}
	if len(cs) > 0 {
		return &cs[0]
	}
	return &corev1.Container{}
}

// projected finds the token that is mounted where file lies; ok is false unless Entra ID of some cloud would exchange it.
func projected(p *corev1.Pod, c *corev1.Container, file string) (audience string, ok bool) {
	for _, m := range c.VolumeMounts {
		i := slices.IndexFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name && v.Projected != nil })
		if i < 0 {
			continue
		}
		for _, s := range p.Spec.Volumes[i].Projected.Sources {
			if t := s.ServiceAccountToken; t != nil && file == m.MountPath+"/"+t.Path {
				return t.Audience, cloud.Exchanges(t.Audience)
			}
		}
	}
	return "", false
}
