package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-gitops/sluice/internal/reconcile"
	"github.com/sluice-gitops/sluice/internal/sops"
)

func newController(s Streams) *cobra.Command {
	var (
		kube            kubeFlags
		o               reconcile.Options
		level, enc, mac string
	)
	cmd := &cobra.Command{Use: "controller", Short: "Run the controllers against a cluster, as the Deployment does", Args: none}
	kube.add(cmd, s.Env)
	f := cmd.Flags()
	f.StringVar(&o.EventsAddr, "events-addr", "", "address of the notification-controller that events are posted to")
	f.BoolVar(&o.WatchAllNamespaces, "watch-all-namespaces", true, "reconcile objects of every namespace, not only of RUNTIME_NAMESPACE")
	f.StringVar(&o.WatchLabelSelector, "watch-label-selector", "", "reconcile only objects with these labels")
	f.StringVar(&o.WatchConfigsLabelSelector, "watch-configs-label-selector", "reconcile.fluxcd.io/watch=Enabled", "follow changes of ConfigMaps and Secrets with these labels")
	f.StringVar(&level, "log-level", "info", "trace, debug, info or error")
	f.StringVar(&enc, "log-encoding", "json", "json or console")
	f.StringVar(&o.StoragePath, "storage-path", orElse(s.Env("STORAGE_PATH"), filepath.Join(os.TempDir(), "sluice")), "folder of mirrors and artifacts")
	f.StringVar(&o.StorageAddr, "storage-addr", ":9090", "listen address of the artifact server")
	f.StringVar(&o.StorageAdvAddr, "storage-adv-addr", "", "host in artifact URLs")
	f.StringVar(&o.MetricsAddr, "metrics-addr", ":8080", "listen address of the metrics")
	f.StringVar(&o.HealthAddr, "health-addr", ":9440", "listen address of the probes")
	f.IntVar(&o.Concurrent, "concurrent", 4, "workers per kind")
	f.DurationVar(&o.RequeueDependency, "requeue-dependency", 30*time.Second, "how often a missing dependency is looked for, besides watching it")
	f.DurationVar(&o.VerifyInterval, "verify-interval", 24*time.Hour, "how often the API server is asked about every object, although no watch shows a change")
	f.DurationVar(&o.DataKeyTTL, "data-key-ttl", time.Hour, "how long unwrapped data keys stay in memory; an identity that lost its access stops decrypting by then")
	f.StringVar(&mac, "sops-mac", "enforce", "what a SOPS document whose MAC does not match is worth: enforce refuses it, warn tells of it, off is Flux's way")
	f.BoolVar(&o.NoCrossNamespaceRefs, "no-cross-namespace-refs", false, "refuse references to other namespaces")
	f.StringVar(&o.DefaultServiceAccount, "default-service-account", "", "ServiceAccount to impersonate where a Kustomization names none")
	f.StringVar(&o.DefaultDecryptionServiceAccount, "default-decryption-service-account", "", "ServiceAccount that decrypts where a Kustomization names none")
	f.StringVar(&o.DefaultKubeConfigServiceAccount, "default-kubeconfig-service-account", "", "ServiceAccount that signs in where the ConfigMap of spec.kubeConfig names none")
	f.BoolVar(&o.InsecureKubeConfigExec, "insecure-kubeconfig-exec", false, "let spec.kubeConfig start programs")
	f.BoolVar(&o.InsecureKubeConfigTLS, "insecure-kubeconfig-tls", false, "let spec.kubeConfig skip the check of the server's certificate")
	f.BoolVar(&o.EnableLeaderElection, "enable-leader-election", false, "let one of several replicas work")
	f.IntVar(&o.IntervalJitter, "interval-jitter-percentage", 5, "how far intervals are spread, in percent, less than 100")
	var gates []string
	f.StringSliceVar(&gates, "feature-gates", nil, "Flux's feature gates, NAME=true or NAME=false")
	addIdle(cmd)
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		log, err := newLogger(s, level, enc)
		if err != nil {
			return usage(c, err)
		}
		if o.MACPolicy, err = sops.ParseMACPolicy(mac); err != nil {
			return usage(c, fmt.Errorf("--sops-mac: %w", err))
		}
		if o.IntervalJitter < 0 || o.IntervalJitter >= 100 {
			return usage(c, errors.New("--interval-jitter-percentage: give 0 to 99"))
		}
		var warnings []string
		if o.Features, warnings, err = reconcile.ParseFeatures(gates); err != nil {
			return usage(c, err)
		}
		for _, text := range warnings {
			log.Warn(text)
		}
		if o.DefaultDecryptionServiceAccount+o.DefaultKubeConfigServiceAccount != "" && !o.Features.On(reconcile.ObjectLevelWorkloadIdentity) {
			return usage(c, errors.New("--default-decryption-service-account and --default-kubeconfig-service-account need --feature-gates=ObjectLevelWorkloadIdentity=true"))
		}
		if o.Config, err = kube.config(); err != nil {
			return err
		}
		o.Namespace = orElse(s.Env("RUNTIME_NAMESPACE"), kube.namespace)
		if o.StorageAdvAddr == "" {
			o.StorageAdvAddr = "source-controller." + o.Namespace + ".svc.cluster.local."
		}
		o.Log = log
		return reconcile.Run(c.Context(), o)
	}
	return cmd
}

// addIdle takes flags of Flux's controllers that say nothing here, so that its Deployments start unchanged: remote bases
// are always refused, requests are not throttled on this side, and artifacts are not fetched by the applier.
func addIdle(cmd *cobra.Command) {
	f := cmd.Flags()
	f.Bool("no-remote-bases", true, "")
	f.Int("concurrent-ssa", 4, "")
	f.Int("http-retry", 9, "")
	f.Float32("kube-api-qps", 50, "")
	f.Int("kube-api-burst", 300, "")
	f.Duration("min-retry-delay", 750*time.Millisecond, "")
	f.Duration("max-retry-delay", 15*time.Minute, "")
	f.Int("token-cache-max-size", 100, "")
	f.Duration("token-cache-max-duration", time.Hour, "")
	for _, name := range []string{"no-remote-bases", "concurrent-ssa", "http-retry", "kube-api-qps", "kube-api-burst",
		"min-retry-delay", "max-retry-delay", "token-cache-max-size", "token-cache-max-duration"} {
		_ = f.MarkHidden(name) // each was just added
	}
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
