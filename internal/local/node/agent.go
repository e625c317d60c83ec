package node

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	typedappsv1 "k8s.io/client-go/kubernetes/typed/apps/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sluice-gitops/sluice/internal/local/process"
	"github.com/sluice-gitops/sluice/internal/local/state"
)

// Config is what the node is told by the platform.
type Config struct {
	Dir        state.Dir
	Executable string       // stands for the container's image
	Admin      *rest.Config // to watch the Deployment and request tokens; never given to the process
	TenantID   string       // the cluster's
	Flags      []string     // appended to the container's arguments: what differs on a host
	Network    []string     // NAME=value pairs that stand for the pod's network and trust roots
	Log        *slog.Logger
	Hooks      process.Hooks
}

// Agent keeps the Deployment's process as the Deployment asks.
type Agent struct {
	cfg  Config
	apps typedappsv1.AppsV1Interface // of the two groups that are watched, not all of Kubernetes
	core typedcorev1.CoreV1Interface
	wake chan struct{}
}

// New prepares an agent; Run does the work.
func New(cfg Config) (*Agent, error) {
	apps, err := typedappsv1.NewForConfig(cfg.Admin)
	if err != nil {
		return nil, err
	}
	core, err := typedcorev1.NewForConfig(cfg.Admin)
	if err != nil {
		return nil, err
	}
	return &Agent{cfg: cfg, apps: apps, core: core, wake: make(chan struct{}, 1)}, nil
}

// Run watches and obeys until ctx ends, then ends the process.
func (a *Agent) Run(ctx context.Context) {
	deployments := a.watch(ctx, a.apps.RESTClient(), "deployments", &appsv1.Deployment{})
	accounts := a.watch(ctx, a.core.RESTClient(), "serviceaccounts", &corev1.ServiceAccount{})
	cache.WaitForCacheSync(ctx.Done(), deployments.HasSynced, accounts.HasSynced)

	running, stop := "", func() {}
	defer func() { stop() }()
	for {
		pod, err := Desired(get[*appsv1.Deployment](deployments), get[*corev1.ServiceAccount](accounts), a.cfg.TenantID)
		if err != nil {
			a.cfg.Log.Warn("Deployment not understood", "error", err)
		} else if h := pod.Hash(); h != running {
			a.cfg.Log.Info("pod changed", "from", running, "to", h)
			stop()
			running, stop = h, a.run(ctx, pod)
		}
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		}
	}
}

// watch keeps the one object of its resource that matters here.
func (a *Agent) watch(ctx context.Context, c cache.Getter, resource string, kind runtime.Object) cache.SharedIndexInformer {
	lw := cache.NewListWatchFromClient(c, resource, Namespace, fields.OneTermEqualSelector("metadata.name", Name))
	i := cache.NewSharedIndexInformer(lw, kind, 0, cache.Indexers{})
	changed := func(any) {
		select {
		case a.wake <- struct{}{}:
		default: // a look is due already
		}
	}
	_, _ = i.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: changed, DeleteFunc: changed, UpdateFunc: func(_, obj any) { changed(obj) },
	})
	go i.Run(ctx.Done())
	return i
}

func get[T any](i cache.SharedIndexInformer) T {
	var none T
	obj, ok, err := i.GetStore().GetByKey(Namespace + "/" + Name)
	if err != nil || !ok {
		return none
	}
	return obj.(T)
}

// run starts keeping pod's process and returns what ends it. A nil pod runs nothing.
func (a *Agent) run(ctx context.Context, pod *Pod) (stop func()) {
	if pod == nil {
		return func() {}
	}
	for _, name := range pod.Skipped {
		a.cfg.Log.Warn("variable left out: its source is not served by the local node", "name", name)
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tokens := a.tokens(pod)
		ready := func() error { return a.prepare(ctx, tokens) }
		go renew(ctx, a.core, a.cfg.Log, tokens)
		process.Keep(ctx, 5*time.Second, func() (process.Spec, error) {
			if err := ready(); err != nil {
				return process.Spec{}, err
			}
			return a.spec(pod), nil
		}, a.cfg.Hooks)
	}()
	return func() { cancel(); <-done }
}

func (a *Agent) tokens(pod *Pod) []*token {
	ts := []*token{{path: a.cfg.Dir.Node("serviceaccount-token"), expiration: defaultExpiration}}
	if pod.Identity != nil {
		ts = append(ts, &token{path: a.cfg.Dir.Node("azure-identity-token"), audience: TokenExchangeAudience, expiration: pod.Identity.Expiration})
	}
	return ts
}

// prepare writes the token files and the kubeconfig that refers to them.
func (a *Agent) prepare(ctx context.Context, tokens []*token) error {
	if err := os.Remove(a.cfg.Dir.Node("azure-identity-token")); err != nil && !os.IsNotExist(err) {
		return err
	}
	for _, d := range []string{"data", "home", "tmp"} {
		if err := os.MkdirAll(a.cfg.Dir.Node(d), 0o700); err != nil {
			return err
		}
	}
	for _, t := range tokens {
		if err := t.write(ctx, a.core, time.Now()); err != nil {
			return err
		}
	}
	raw, err := clientcmd.Write(kubeconfig(a.cfg.Admin, tokens[0].path))
	if err != nil {
		return err
	}
	return state.WriteFile(a.cfg.Dir.Node("kubeconfig"), raw, 0o600)
}

func kubeconfig(admin *rest.Config, tokenFile string) clientcmdapi.Config {
	k := clientcmdapi.NewConfig()
	k.Clusters["sluice"] = &clientcmdapi.Cluster{Server: admin.Host, CertificateAuthorityData: admin.CAData, CertificateAuthority: admin.CAFile}
	k.AuthInfos[Name] = &clientcmdapi.AuthInfo{TokenFile: tokenFile}
	k.Contexts["sluice"] = &clientcmdapi.Context{Cluster: "sluice", AuthInfo: Name, Namespace: Namespace}
	k.CurrentContext = "sluice"
	return *k
}

// spec gives the host process of pod.
func (a *Agent) spec(pod *Pod) process.Spec {
	args := pod.Args
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		args = append([]string{"controller"}, args...) // an image whose entry point is the controller itself
	}
	return process.Spec{
		Name: Name, Owner: a.cfg.Dir, Path: a.cfg.Executable, Log: a.cfg.Dir.Log(Name),
		Args: append(append([]string{}, args...), a.cfg.Flags...),
		Env:  a.environment(pod),
	}
}

// environment is the host's few, then the pod's, then what the kubelet and the webhook add. The webhook leaves
// variables alone that the template sets.
func (a *Agent) environment(pod *Pod) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + a.cfg.Dir.Node("home"), "TMPDIR=" + a.cfg.Dir.Node("tmp"),
		"KUBECONFIG=" + a.cfg.Dir.Node("kubeconfig"),
	}
	if tz := os.Getenv("TZ"); tz != "" {
		env = append(env, "TZ="+tz)
	}
	env = append(env, a.cfg.Network...)
	env = append(env, pod.Variables()...)
	if id := pod.Identity; id != nil {
		for _, kv := range [][2]string{
			{"AZURE_CLIENT_ID", id.ClientID}, {"AZURE_TENANT_ID", id.TenantID},
			{"AZURE_FEDERATED_TOKEN_FILE", a.cfg.Dir.Node("azure-identity-token")},
			{"AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com/"},
		} {
			if _, set := pod.Env[kv[0]]; !set {
				env = append(env, fmt.Sprintf("%s=%s", kv[0], kv[1]))
			}
		}
	}
	return env
}
