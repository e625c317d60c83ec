package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"sync"
	"syscall"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/spf13/cobra"
	"golang.org/x/term"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// kubeFlags are the flags of every command that talks to a cluster, with Flux's names and defaults.
type kubeFlags struct {
	kubeconfig, context, namespace string
	timeout                        time.Duration
}

func (k *kubeFlags) add(c *cobra.Command, env func(string) string) {
	namespace := env("FLUX_SYSTEM_NAMESPACE")
	if namespace == "" {
		namespace = "flux-system"
	}
	f := c.PersistentFlags()
	f.StringVar(&k.kubeconfig, "kubeconfig", "", "kubeconfig file (default: kubectl's rules)")
	f.StringVar(&k.context, "context", "", "context of the kubeconfig to use")
	f.StringVarP(&k.namespace, "namespace", "n", namespace, "namespace of the objects (default from FLUX_SYSTEM_NAMESPACE)")
	f.DurationVar(&k.timeout, "timeout", 5*time.Minute, "how long to wait in all")
}

// config follows kubectl's own rules; where they lead nowhere, the fault says how to reach a local platform.
func (k *kubeFlags) config() (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = k.kubeconfig
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: k.context}).ClientConfig()
	if err != nil {
		f := &fault.Fault{Code: "SLU-KUBERNETES-001", Hop: fault.HopAPI, Seen: "no cluster is configured", Fix: localFix, Err: err}
		if !clientcmd.IsEmptyConfig(err) {
			f.Code, f.Seen, f.Why = "SLU-KUBERNETES-002", "the kubeconfig can't be used", err.Error()
			f.Fix = "name a kubeconfig and context that exist: --kubeconfig FILE --context NAME"
		}
		return nil, f
	}
	cfg.QPS = -1
	return cfg, nil
}

const localFix = `eval "$(sluice env)", when a local platform is up (sluice up starts one)`

var scheme = sync.OnceValue(func() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(corev1.AddToScheme(s))
	utilruntime.Must(sourcev1.AddToScheme(s))
	utilruntime.Must(kustomizev1.AddToScheme(s))
	return s
})

func (k *kubeFlags) client() (client.WithWatch, error) {
	cfg, err := k.config()
	if err != nil {
		return nil, err
	}
	c, err := client.NewWithWatch(cfg, client.Options{Scheme: scheme()})
	if err != nil {
		return nil, explainKube(err)
	}
	return c, nil
}

// deadline bounds a command by --timeout.
func (k *kubeFlags) deadline(c *cobra.Command) (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.Context(), k.timeout)
}

// explainKube turns the usual failures of a Kubernetes client into faults, and leaves others as they are.
func explainKube(err error) error {
	var netErr *net.OpError
	var urlErr *url.Error
	f := &fault.Fault{Hop: fault.HopAPI, Err: err}
	switch {
	case err == nil || fault.From(err) != nil:
		return err
	case errors.Is(err, syscall.ECONNREFUSED) || (errors.As(err, &netErr) && netErr.Op == "dial"):
		host := ""
		if errors.As(err, &urlErr) {
			if u, perr := url.Parse(urlErr.URL); perr == nil {
				host = " at " + u.Host
			}
		}
		f.Code, f.Seen, f.Fix = "SLU-KUBERNETES-003", "the Kubernetes API"+host+" can't be reached", "start the cluster (a local one: sluice up), or choose another: --context NAME"
	case apimeta.IsNoMatchError(err):
		f.Code, f.Seen, f.Fix = "SLU-KUBERNETES-004", "this cluster doesn't know GitRepositories and Kustomizations", "install Sluice or Flux into it, or choose another cluster: --context NAME"
	case apierrors.IsUnauthorized(err):
		f.Code, f.Seen, f.Fix = "SLU-KUBERNETES-005", "the cluster doesn't accept these credentials", "sign in to the cluster again; for a local platform: eval \"$(sluice env)\""
	case apierrors.IsForbidden(err):
		f.Code, f.Seen, f.Fix = "SLU-KUBERNETES-006", "this user may not do that", "ask for the RBAC permission named above"
		f.Why = err.Error()
	case errors.Is(err, context.DeadlineExceeded):
		f.Code, f.Seen, f.Fix, f.Exit = "SLU-KUBERNETES-007", "the cluster didn't answer in time", "try again with a longer --timeout", fault.ExitTimeout
	default:
		return fmt.Errorf("kubernetes: %w", err)
	}
	return f
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
