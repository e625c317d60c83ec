package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-gitops/sluice/internal/plan"
	"github.com/sluice-gitops/sluice/internal/reconcile"
	"github.com/sluice-gitops/sluice/internal/sops"
)

// controllerFlags are the flags of controller: those of Flux's kustomize-controller and source-controller, and our own.
type controllerFlags struct {
	streams         Streams
	kube            kubeFlags
	o               reconcile.Options
	level, enc, mac string
	gates           []string
	early           string
	release         bool
}

// heapFloor is allocated and never touched, so it takes no memory, but the collector counts it: it starts a cycle when the
// heap has doubled, floor included. Without it, collecting the twenty megabytes that a small cluster's controller uses was
// an eighth of the CPU of a first sync; with a larger GOGC instead, every Kustomization of a large one would take more.
const heapFloor = 16 << 20

func newController(s Streams) *cobra.Command {
	f := &controllerFlags{streams: s}
	cmd := &cobra.Command{Use: "controller", Short: "Run the controllers against a cluster, as the Deployment does", Args: none}
	f.add(cmd)
	addIdle(cmd)
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		log, err := newLogger(s, f.level, f.enc)
		if err != nil {
			return usage(c, err)
		}
		o, warnings, err := f.options(c)
		if err != nil {
			return err
		}
		for _, text := range warnings {
			log.Warn(text)
		}
		if o.Config, err = f.kube.config(); err != nil {
			return err
		}
		o.Log = log
		floor := make([]byte, heapFloor)
		defer runtime.KeepAlive(floor)
		return reconcile.Run(c.Context(), o)
	}
	return cmd
}

func (c *controllerFlags) add(cmd *cobra.Command) {
	c.kube.add(cmd, c.streams.Env)
	f, o, env := cmd.Flags(), &c.o, c.streams.Env
	f.StringVar(&o.EventsAddr, "events-addr", env("EVENTS_ADDR"), "address of the notification-controller that events are posted to")
	f.BoolVar(&o.WatchAllNamespaces, "watch-all-namespaces", true, "reconcile objects of every namespace, not only of RUNTIME_NAMESPACE")
	f.StringVar(&o.WatchLabelSelector, "watch-label-selector", "", "reconcile only objects with these labels")
	f.StringVar(&o.WatchConfigsLabelSelector, "watch-configs-label-selector", "reconcile.fluxcd.io/watch=Enabled", "follow changes of ConfigMaps and Secrets with these labels")
	f.StringVar(&c.level, "log-level", "info", "trace, debug, info or error")
	f.StringVar(&c.enc, "log-encoding", "json", "json or console")
	f.Var(&o.GitRepositories, "git-repositories", "who reconciles GitRepositories: serve, this controller; or read, Flux's source-controller, whose artifacts are read")
	f.StringVar(&o.StoragePath, "storage-path", orElse(env("STORAGE_PATH"), filepath.Join(os.TempDir(), "sluice")), "folder of mirrors and artifacts")
	f.StringVar(&o.StorageAddr, "storage-addr", orElse(env("STORAGE_ADDRESS"), ":9090"), "listen address of the artifact server")
	f.StringVar(&o.StorageAdvAddr, "storage-adv-addr", env("STORAGE_ADV_ADDR"), "host in artifact URLs")
	f.StringVar(&o.MetricsAddr, "metrics-addr", orElse(env("METRICS_ADDR"), ":8080"), "listen address of the metrics")
	f.StringVar(&o.HealthAddr, "health-addr", ":9440", "listen address of the probes")
	f.IntVar(&o.Concurrent, "concurrent", 4, "workers per kind")
	f.DurationVar(&o.RequeueDependency, "requeue-dependency", 30*time.Second, "how often a missing dependency is looked for, besides watching it")
	f.DurationVar(&o.VerifyInterval, "verify-interval", 24*time.Hour, "how often the API server is asked about every object, although no watch shows a change")
	f.DurationVar(&o.DataKeyTTL, "data-key-ttl", time.Hour, "how long unwrapped data keys stay in memory; an identity that lost its access stops decrypting by then")
	f.StringVar(&c.mac, "sops-mac", "enforce", "what a SOPS document whose MAC does not match is worth: enforce refuses it, warn tells of it, off is Flux's way")
	f.Var(&o.SOPSPolicy, "sops-policy", "what a SOPS document is worth that seals less, or for others, than the .sops.yaml of its revision says: enforce refuses it, warn tells of it, off is Flux's way")
	f.BoolVar(&o.NoCrossNamespaceRefs, "no-cross-namespace-refs", false, "refuse references to other namespaces")
	f.StringVar(&o.DefaultServiceAccount, "default-service-account", "", "ServiceAccount to impersonate where a Kustomization names none")
	f.StringVar(&o.DefaultSourceServiceAccount, "default-source-service-account", "", "ServiceAccount that signs in to a cloud where a GitRepository names none: source-controller's --default-service-account")
	f.StringVar(&o.DefaultDecryptionServiceAccount, "default-decryption-service-account", "", "ServiceAccount that decrypts where a Kustomization names none")
	f.StringVar(&o.DefaultKubeConfigServiceAccount, "default-kubeconfig-service-account", "", "ServiceAccount that signs in where the ConfigMap of spec.kubeConfig names none")
	f.BoolVar(&o.InsecureKubeConfigExec, "insecure-kubeconfig-exec", false, "let spec.kubeConfig start programs")
	f.BoolVar(&o.InsecureKubeConfigTLS, "insecure-kubeconfig-tls", false, "let spec.kubeConfig skip the check of the server's certificate")
	f.BoolVar(&o.EnableLeaderElection, "enable-leader-election", false, "let one of several replicas work")
	f.BoolVar(&c.release, "leader-election-release-on-cancel", true, "hand the lease on at the end")
	f.DurationVar(&o.LeaderElection.LeaseDuration, "leader-election-lease-duration", 35*time.Second, "how long other replicas wait for a leader that is silent")
	f.DurationVar(&o.LeaderElection.RenewDeadline, "leader-election-renew-deadline", 30*time.Second, "how long the leader tries to renew its lease")
	f.DurationVar(&o.LeaderElection.RetryPeriod, "leader-election-retry-period", 5*time.Second, "how long between two tries")
	f.IntVar(&o.IntervalJitter, "interval-jitter-percentage", 5, "how far intervals are spread, in percent, less than 100")
	f.StringSliceVar(&o.SSHKexAlgorithms, "ssh-kex-algos", nil, "key exchange algorithms for ssh remotes, the most preferred first")
	f.StringSliceVar(&o.SSHHostKeyAlgorithms, "ssh-hostkey-algos", nil, "host key algorithms for ssh remotes, the most preferred first")
	f.StringSliceVar(&c.gates, "feature-gates", nil, "Flux's feature gates, NAME=true or NAME=false")
	f.StringVar(&o.SOPSVaultConfigMap, "sops-vault-configmap", "", "ConfigMap of RUNTIME_NAMESPACE with the Vault and OpenBao servers to sign in to as a ServiceAccount, and where (its entry config.yaml)")
	f.StringVar(&o.SOPSAgeSecret, "sops-age-secret", "", "Secret of RUNTIME_NAMESPACE with age keys for Kustomizations whose spec.decryption names no Secret")
	f.StringArrayVar(&o.OverrideManagers, "override-manager", nil, "field manager, by prefix, that may not change what is applied: its fields are taken over (repeatable)")
	f.StringVar(&c.early, "custom-apply-stage-kinds", "", "kinds that are applied after definitions and classes and before all others, GROUP/KIND,…")
}

// options reads what the flags say, and warns of those that say nothing here.
func (f *controllerFlags) options(c *cobra.Command) (o reconcile.Options, warnings []string, err error) {
	if o = f.o; o.IntervalJitter < 0 || o.IntervalJitter >= 100 {
		return o, nil, usage(c, errors.New("--interval-jitter-percentage: give 0 to 99"))
	}
	if o.CustomApplyStageKinds, err = plan.ParseGroupKinds(f.early); err != nil {
		return o, nil, usage(c, fmt.Errorf("--custom-apply-stage-kinds: %w", err))
	}
	for _, name := range o.OverrideManagers {
		if strings.HasPrefix("kustomize-controller", name) {
			return o, nil, usage(c, fmt.Errorf("--override-manager: %q stands for our own manager too", name))
		}
	}
	if o.MACPolicy, err = sops.ParseMACPolicy(f.mac); err != nil {
		return o, nil, usage(c, fmt.Errorf("--sops-mac: %w", err))
	}
	if o.Features, warnings, err = reconcile.ParseFeatures(f.gates); err != nil {
		return o, nil, usage(c, err)
	}
	warnings = append(append(warnings, idleWarnings(c)...), readWarnings(c, o.GitRepositories)...)
	if o.DefaultDecryptionServiceAccount+o.DefaultKubeConfigServiceAccount+o.DefaultSourceServiceAccount != "" && !o.Features.On(reconcile.ObjectLevelWorkloadIdentity) {
		return o, nil, usage(c, errors.New("--default-decryption-service-account, --default-kubeconfig-service-account and --default-source-service-account need --feature-gates=ObjectLevelWorkloadIdentity=true"))
	}
	if err := knownSSH(o.SSHKexAlgorithms, o.SSHHostKeyAlgorithms); err != nil {
		return o, nil, usage(c, err)
	}
	o.LeaderElection.KeepOnCancel = !f.release
	o.Namespace = orElse(f.streams.Env("RUNTIME_NAMESPACE"), f.kube.namespace)
	if o.StorageAdvAddr == "" {
		o.StorageAdvAddr = "source-controller." + o.Namespace + ".svc.cluster.local."
	}
	return o, warnings, nil
}

// newLogger writes what Flux's controllers write: one line a record, JSON unless asked otherwise, on stderr.
func newLogger(s Streams, level, encoding string) (*slog.Logger, error) {
	levels := map[string]slog.Level{"trace": slog.LevelDebug - 4, "debug": slog.LevelDebug, "info": slog.LevelInfo, "error": slog.LevelError}
	l, ok := levels[strings.ToLower(level)]
	if !ok {
		return nil, fmt.Errorf("unknown log level %q: use trace, debug, info or error", level)
	}
	opts := &slog.HandlerOptions{Level: l}
	switch encoding {
	case "json":
		return slog.New(slog.NewJSONHandler(s.Err, opts)), nil
	case "console":
		return slog.New(slog.NewTextHandler(s.Err, opts)), nil
	}
	return nil, fmt.Errorf("unknown log encoding %q: use json or console", encoding)
}

func orElse(v, fallback string) string {
	if v != "" {
		return v
	}
	return fallback
}
