package cli

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-gitops/sluice/internal/reconcile"
)

// fluxFlags are all flags of source-controller v1.9.1, and those that kustomize-controller v1.9.4 has besides, with what becomes of them here.
// "works" is followed by what the Options must then hold.
var fluxFlags = []struct {
	flag, value string
	works       func(reconcile.Options) bool
	warns       string // part of the warning
	refused     string // part of the reason
}{
	{"metrics-addr", ":1", func(o reconcile.Options) bool { return o.MetricsAddr == ":1" }, "", ""},
	{"events-addr", "http://n/", func(o reconcile.Options) bool { return o.EventsAddr == "http://n/" }, "", ""},
	{"health-addr", ":2", func(o reconcile.Options) bool { return o.HealthAddr == ":2" }, "", ""},
	{"concurrent", "7", func(o reconcile.Options) bool { return o.Concurrent == 7 }, "", ""},
	{"requeue-dependency", "5s", func(o reconcile.Options) bool { return o.RequeueDependency.Seconds() == 5 }, "", ""},
	{"ssh-kex-algos", "curve25519-sha256", func(o reconcile.Options) bool { return slices.Equal(o.SSHKexAlgorithms, []string{"curve25519-sha256"}) }, "", ""},
	{"ssh-kex-algos", "rot13", nil, "", "unknown algorithm"},
	{"ssh-hostkey-algos", "ssh-ed25519", func(o reconcile.Options) bool { return slices.Equal(o.SSHHostKeyAlgorithms, []string{"ssh-ed25519"}) }, "", ""},
	{"ssh-hostkey-algos", "rot13", nil, "", "unknown algorithm"},
	{"default-service-account", "tenant", func(o reconcile.Options) bool { return o.DefaultServiceAccount == "tenant" }, "", ""},
	{"storage-path", "/s", func(o reconcile.Options) bool { return o.StoragePath == "/s" }, "", ""},
	{"storage-addr", ":3", func(o reconcile.Options) bool { return o.StorageAddr == ":3" }, "", ""},
	{"storage-adv-addr", "here", func(o reconcile.Options) bool { return o.StorageAdvAddr == "here" }, "", ""},
	{"artifact-retention-ttl", "2m", nil, "the current artifact and the one before it are kept", ""},
	{"artifact-retention-records", "5", nil, "the current artifact and the one before it are kept", ""},
	{"artifact-digest-algo", "sha512", nil, "SHA-256", ""},
	{"kube-api-qps", "1", nil, "not throttled", ""},
	{"kube-api-burst", "1", nil, "not throttled", ""},
	{"log-encoding", "console", func(reconcile.Options) bool { return true }, "", ""},
	{"log-level", "debug", func(reconcile.Options) bool { return true }, "", ""},
	{"enable-leader-election", "true", func(o reconcile.Options) bool { return o.EnableLeaderElection }, "", ""},
	{"leader-election-release-on-cancel", "false", func(o reconcile.Options) bool { return o.LeaderElection.KeepOnCancel }, "", ""},
	{"leader-election-lease-duration", "9s", func(o reconcile.Options) bool { return o.LeaderElection.LeaseDuration.Seconds() == 9 }, "", ""},
	{"leader-election-renew-deadline", "8s", func(o reconcile.Options) bool { return o.LeaderElection.RenewDeadline.Seconds() == 8 }, "", ""},
	{"leader-election-retry-period", "7s", func(o reconcile.Options) bool { return o.LeaderElection.RetryPeriod.Seconds() == 7 }, "", ""},
	{"min-retry-delay", "1s", nil, "up to the object's interval", ""},
	{"max-retry-delay", "1s", nil, "up to the object's interval", ""},
	{"feature-gates", "ExternalArtifact=true", func(o reconcile.Options) bool { return o.Features.On(reconcile.ExternalArtifact) }, "", ""},
	{"feature-gates", "CacheSecretsAndConfigMaps=true", nil, "has no effect", ""},
	{"watch-all-namespaces", "false", func(o reconcile.Options) bool { return !o.WatchAllNamespaces }, "", ""},
	{"watch-label-selector", "a=b", func(o reconcile.Options) bool { return o.WatchLabelSelector == "a=b" }, "", ""},
	{"watch-configs-label-selector", "a=b", func(o reconcile.Options) bool { return o.WatchConfigsLabelSelector == "a=b" }, "", ""},
	{"interval-jitter-percentage", "9", func(o reconcile.Options) bool { return o.IntervalJitter == 9 }, "", ""},
	{"interval-jitter-percentage", "100", nil, "", "0 to 99"},
	{"token-cache-max-size", "1", nil, "keeps its own tokens", ""},
	{"token-cache-max-duration", "1m", nil, "keeps its own tokens", ""},
	{"helm-index-max-size", "1", nil, "not served here", ""},
	{"helm-chart-max-size", "1", nil, "not served here", ""},
	{"helm-chart-file-max-size", "1", nil, "not served here", ""},
	{"helm-cache-max-size", "1", nil, "not served here", ""},
	{"helm-cache-ttl", "1m", nil, "not served here", ""},
	{"helm-cache-purge-interval", "2m", nil, "not served here", ""},
	{"concurrent-ssa", "9", nil, "side by side", ""},
	{"no-remote-bases", "false", nil, "always refused", ""},
	{"http-retry", "1", nil, "not fetched", ""},
	{"no-cross-namespace-refs", "true", func(o reconcile.Options) bool { return o.NoCrossNamespaceRefs }, "", ""},
	{"insecure-kubeconfig-exec", "true", func(o reconcile.Options) bool { return o.InsecureKubeConfigExec }, "", ""},
	{"insecure-kubeconfig-tls", "true", func(o reconcile.Options) bool { return o.InsecureKubeConfigTLS }, "", ""},
	{"override-manager", "argocd", func(o reconcile.Options) bool { return slices.Equal(o.OverrideManagers, []string{"argocd"}) }, "", ""},
	{"override-manager", "kustomize", nil, "", "our own manager"},
	{"override-manager", "", nil, "", "our own manager"},
	{"custom-apply-stage-kinds", "a.example/B,Secret", func(o reconcile.Options) bool {
		return len(o.CustomApplyStageKinds) == 2 && o.CustomApplyStageKinds[schema.GroupKind{Group: "a.example", Kind: "B"}]
	}, "", ""},
	{"custom-apply-stage-kinds", "a/b/c", nil, "", "GROUP/KIND"},
	{"sops-age-secret", "keys", func(o reconcile.Options) bool { return o.SOPSAgeSecret == "keys" }, "", ""},
	{"sops-vault-configmap", "vaults", func(o reconcile.Options) bool { return o.SOPSVaultConfigMap == "vaults" }, "", ""},
	{"default-decryption-service-account", "x", nil, "", "ObjectLevelWorkloadIdentity=true"},
	{"default-kubeconfig-service-account", "x", nil, "", "ObjectLevelWorkloadIdentity=true"},
}

// controllerOf parses the flags of controller as the command does.
func controllerOf(env map[string]string, args ...string) (o reconcile.Options, warnings []string, err error) {
	var out bytes.Buffer
	f := &controllerFlags{streams: Streams{Out: &out, Err: &out, Env: func(k string) string { return env[k] }}}
	cmd := &cobra.Command{Use: "controller"}
	f.add(cmd)
	addIdle(cmd)
	if err := cmd.ParseFlags(args); err != nil {
		return o, nil, err
	}
	return f.options(cmd)
}

func TestEachFlagOfFluxWorksWarnsOrIsRefused(t *testing.T) {
	for _, tt := range fluxFlags {
		o, warnings, err := controllerOf(nil, "--"+tt.flag+"="+tt.value)
		text := strings.Join(warnings, "\n")
		switch {
		case tt.refused != "":
			if err == nil || !strings.Contains(err.Error(), tt.refused) {
				t.Errorf("--%s=%s: %v, want to be refused for %q", tt.flag, tt.value, err, tt.refused)
			}
		case err != nil:
			t.Errorf("--%s=%s: %v", tt.flag, tt.value, err)
		case tt.works != nil && (!tt.works(o) || text != ""):
			t.Errorf("--%s=%s does not work: %+v, warnings %q", tt.flag, tt.value, o, text)
		case tt.works == nil && !strings.Contains(text, tt.warns):
			t.Errorf("--%s=%s: warnings %q, want one with %q", tt.flag, tt.value, text, tt.warns)
		}
	}
	if _, warnings, err := controllerOf(nil, "--no-remote-bases"); err != nil || len(warnings) != 0 {
		t.Errorf("--no-remote-bases: %q, %v", warnings, err)
	}
}

// fluxGates are those of kustomize-controller v1.9.4 and source-controller v1.9.1: whether each changes anything here.
var fluxGates = map[string]bool{
	"AdditiveCELDependencyCheck": true, "StrictPostBuildSubstitutions": true, "ObjectLevelWorkloadIdentity": true,
	"DisableConfigWatchers": true, "DisableFailFastBehavior": true, "MigrateAPIVersion": true, "ExternalArtifact": true,
	"CacheSecretsAndConfigMaps": false, "CancelHealthCheckOnNewRevision": false, "DirectSourceFetch": false,
	"DisableStatusPollerCache": false, "GroupChangeLog": false,
}

func TestEachGateOfFluxWorksOrWarns(t *testing.T) {
	for gate, works := range fluxGates {
		for _, value := range []string{"true", "false"} {
			o, warnings, err := controllerOf(nil, "--feature-gates="+gate+"="+value)
			if err != nil || works == (len(warnings) > 0) || works && o.Features.On(reconcile.Feature(gate)) != (value == "true") {
				t.Errorf("%s=%s: %v, warnings %q", gate, value, err, warnings)
			}
		}
	}
}

func TestWhereRepositoriesAreOnlyReadTheFlagsOfServingWarn(t *testing.T) {
	for _, name := range servingFlags {
		value := map[string]string{"ssh-kex-algos": "curve25519-sha256", "ssh-hostkey-algos": "ssh-ed25519"}[name]
		args := []string{"--feature-gates=ObjectLevelWorkloadIdentity=true", "--" + name + "=" + value}
		if o, warnings, err := controllerOf(nil, args...); err != nil || o.GitRepositories != reconcile.GitServe || len(warnings) > 0 {
			t.Errorf("--%s: %v, warnings %q", name, err, warnings)
		}
		o, warnings, err := controllerOf(nil, append(args, "--git-repositories=read")...)
		if err != nil || o.GitRepositories != reconcile.GitRead || len(warnings) != 1 || !strings.Contains(warnings[0], "--"+name+" has no effect") {
			t.Errorf("--%s with read: %v, %v, warnings %q", name, o.GitRepositories, err, warnings)
		}
	}
	if _, _, err := controllerOf(nil, "--git-repositories=both"); err == nil || !strings.Contains(err.Error(), "want serve or read") {
		t.Errorf("an unknown mode is taken: %v", err)
	}
}

func TestTheEnvironmentThatFluxReadsIsRead(t *testing.T) {
	o, _, err := controllerOf(map[string]string{
		"METRICS_ADDR": ":1", "EVENTS_ADDR": "http://n/", "STORAGE_PATH": "/data", "STORAGE_ADDRESS": ":2", "STORAGE_ADV_ADDR": "adv", "RUNTIME_NAMESPACE": "ns",
	})
	if err != nil || o.MetricsAddr != ":1" || o.EventsAddr != "http://n/" || o.StoragePath != "/data" || o.StorageAddr != ":2" || o.StorageAdvAddr != "adv" || o.Namespace != "ns" {
		t.Errorf("%+v, %v", o, err)
	}
}
