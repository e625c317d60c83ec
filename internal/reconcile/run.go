package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/sluice-gitops/sluice/internal/keyring"
	"github.com/sluice-gitops/sluice/internal/live"
	"github.com/sluice-gitops/sluice/internal/plan"
	"github.com/sluice-gitops/sluice/internal/sops"
)

// Options configures the controller process. The zero value of a field is the default named beside it.
type Options struct {
	Config    *rest.Config // connection to the cluster; required
	Namespace string       // where the controller runs; leases and its own Service live there

	WatchAllNamespaces bool   // false: only Namespace
	WatchLabelSelector string // reconcile only objects with these labels

	GitRepositories GitMode // who reconciles them; this process

	StoragePath    string // folder for mirrors and artifacts; required unless GitRepositories are read
	StorageAddr    string // listen address of the artifact server; empty, or with GitRead: not served
	StorageAdvAddr string // host in artifact URLs
	MetricsAddr    string // "0" or empty: off
	HealthAddr     string // "0" or empty: off

	Concurrent            int           // workers per kind; 4
	RequeueDependency     time.Duration // safety net behind the events; 30 s
	NoCrossNamespaceRefs  bool
	DefaultServiceAccount string
	EnableLeaderElection  bool
	LeaderElection        LeaderElection
	DataKeyTTL            time.Duration // how long unwrapped data keys are kept; 1 h
	VerifyInterval        time.Duration // how often everything is compared although no watch shows a change; 24 h
	MACPolicy             sops.MACPolicy
	SOPSPolicy            SOPSPolicy // what a document is worth that differs from the revision's .sops.yaml
	Features              Features

	EventsAddr     string // where notifications are posted; empty: nowhere
	IntervalJitter int    // percent by which intervals are spread

	WatchConfigsLabelSelector string // ConfigMaps and Secrets whose changes are followed; Flux's label if empty

	SOPSVaultConfigMap    string                    // in Namespace; login paths of Vault servers to sign in to as a ServiceAccount; empty: none
	SOPSAgeSecret         string                    // in Namespace; its age keys serve where spec.decryption names no Secret
	OverrideManagers      []string                  // further field managers, by prefix, whose fields become ours
	CustomApplyStageKinds map[schema.GroupKind]bool // applied after definitions and classes, before everything else

	InsecureKubeConfigExec          bool   // spec.kubeConfig may start programs
	InsecureKubeConfigTLS           bool   // spec.kubeConfig may skip the check of the server's certificate
	DefaultDecryptionServiceAccount string // for spec.decryption
	DefaultKubeConfigServiceAccount string // for spec.kubeConfig.configMapRef
	DefaultSourceServiceAccount     string // for a GitRepository's provider

	SSHKexAlgorithms, SSHHostKeyAlgorithms []string // the most preferred first; nil: the defaults of package source

	Log *slog.Logger

	clock func() time.Time   // nil: time.Now
	azure policy.Transporter // to Azure, for identities of ServiceAccounts; nil: the SDK's own
	cloud cloudEndpoints     // where AWS and Google are, for remote clusters
}

func (o Options) now() time.Time {
	if o.clock == nil {
		return time.Now()
	}
	return o.clock()
}

func newScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(s))
	utilruntime.Must(sourcev1.AddToScheme(s))
	addToScheme(s)
	return s
}

// Run runs both controllers until ctx ends, then lets the work under way finish.
func Run(ctx context.Context, o Options) error {
	if o.Concurrent <= 0 {
		o.Concurrent = 4
	}
	if o.RequeueDependency <= 0 {
		o.RequeueDependency = 30 * time.Second
	}
	if o.VerifyInterval <= 0 {
		o.VerifyInterval = 24 * time.Hour
	}
	// Flux's own controllers do not throttle themselves either: API Priority and Fairness does, on the server.
	o.Config = rest.CopyConfig(o.Config)
	o.Config.QPS = -1
	ctrl.SetLogger(logr.FromSlogHandler(o.Log.Handler()))

	mgr, err := newManager(o)
	if err != nil {
		return err
	}
	events, err := typedcorev1.NewForConfig(o.Config)
	if err != nil {
		return err
	}
	sourceEvents, stopSource := newRecorder(events, mgr.GetScheme(), "source-controller", sourcev1.GroupVersion.Group)
	defer stopSource()
	applyEvents, stopApply := newRecorder(events, mgr.GetScheme(), "kustomize-controller", kustomizev1.GroupVersion.Group)
	defer stopApply()

	if n := newNotifier(o.EventsAddr, o.Log); n != nil {
		sourceEvents.notify, applyEvents.notify = n, n
		if err := mgr.Add(n); err != nil {
			return err
		}
	}
	revisions := NewRevisions()
	if o.GitRepositories == GitServe {
		if err := serveGit(mgr, o, revisions, sourceEvents); err != nil {
			return err
		}
	}
	ring := keyring.New(keyring.Options{Transport: o.azure, TTL: o.DataKeyTTL, Observe: dataKeys.observe})
	dataKeys.follow(ring)
	watches, err := live.New(o.Config, mgr.GetRESTMapper(), live.Options{FieldManager: applyFieldManager, TakeOver: plan.Overriding(o.OverrideManagers), Log: o.Log})
	if err != nil {
		return err
	}
	if err := mgr.Add(watches); err != nil {
		return err
	}
	kustomizations := newKustomizations(mgr, o, revisions, ring, watches)
	kustomizations.Events, kustomizations.Log = applyEvents, o.Log
	if err := kustomizations.setup(ctx, mgr, o.Concurrent); err != nil {
		return err
	}
	if err := newExternalSources(mgr, revisions, o).setup(mgr, o.Concurrent); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

// serveGit adds what source-controller does for GitRepositories.
func serveGit(mgr ctrl.Manager, o Options, revisions *Revisions, events recorder) error {
	artifacts := &Artifacts{Dir: filepath.Join(o.StoragePath, "artifacts"), Host: o.StorageAdvAddr}
	repos := newGitRepositories(mgr.GetClient(), mgr.GetAPIReader(), revisions, artifacts, filepath.Join(o.StoragePath, "mirrors"))
	repos.Events, repos.Log = events, o.Log
	repos.Features, repos.DefaultAccount = o.Features, o.DefaultSourceServiceAccount
	repos.KexAlgorithms, repos.HostKeyAlgorithms = o.SSHKexAlgorithms, o.SSHHostKeyAlgorithms
	if err := repos.setup(mgr, o.Concurrent); err != nil {
		return err
	}
	return mgr.Add(artifactServer{addr: o.StorageAddr, handler: artifacts.Handler()})
}

func newManager(o Options) (ctrl.Manager, error) {
	selector, err := labels.Parse(o.WatchLabelSelector)
	if err != nil {
		return nil, fmt.Errorf("--watch-label-selector: %w", err)
	}
	opts := ctrl.Options{
		Scheme:                  newScheme(),
		Metrics:                 metricsserver.Options{BindAddress: orOff(o.MetricsAddr)},
		HealthProbeBindAddress:  orOff(o.HealthAddr),
		LeaderElection:          o.EnableLeaderElection,
		LeaderElectionID:        leaseName(o.WatchLabelSelector),
		LeaderElectionNamespace: o.Namespace,
		Cache: cache.Options{NewInformer: newInformer, ByObject: map[client.Object]cache.ByObject{
			&Kustomization{}: {Label: selector},
		}},
		// Credentials and substitution variables are read when they are needed and kept nowhere.
		Client: client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}, &corev1.ConfigMap{}}}},
	}
	if o.GitRepositories == GitServe { // another's are read whatever shard they belong to, as every other source
		opts.Cache.ByObject[&sourcev1.GitRepository{}] = cache.ByObject{Label: selector}
	}
	o.LeaderElection.apply(&opts)
	if err := configCache(o, opts.Cache.ByObject); err != nil {
		return nil, err
	}
	if !o.WatchAllNamespaces {
		opts.Cache.DefaultNamespaces = map[string]cache.Config{o.Namespace: {}}
	}
	mgr, err := ctrl.NewManager(o.Config, opts)
	if err != nil {
		return nil, err
	}
	if err := mgr.AddHealthzCheck("healthz", healthz.Ping); err != nil {
		return nil, err
	}
	return mgr, mgr.AddReadyzCheck("readyz", healthz.Ping)
}

func orOff(addr string) string {
	if addr == "" {
		return "0"
	}
	return addr
}

// artifactServer serves the artifacts as a part of the manager's life.
type artifactServer struct {
	addr    string
	handler http.Handler
}

// Start implements manager.Runnable.
func (s artifactServer) Start(ctx context.Context) error {
	if s.addr == "" {
		<-ctx.Done()
		return nil
	}
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		return fmt.Errorf("artifact server: %w", err)
	}
	srv := &http.Server{Handler: s.handler, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := srv.Shutdown(stop); err != nil {
			return err
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}
}
