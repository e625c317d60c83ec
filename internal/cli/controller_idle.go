package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/sluice-gitops/sluice/internal/reconcile"
)

// idleFlag is a flag of Flux's controllers that says nothing here. It is taken, so that a Deployment written for them
// starts unchanged, and its use is warned of.
type idleFlag struct {
	name  string
	value string // Flux's default
	why   string
}

const (
	noThrottle = "requests are not throttled on this side: API Priority and Fairness does that on the server"
	noHelm     = "HelmRepositories and HelmCharts are not served here"
	ownBackoff = "failures are tried again after 2 s, 4 s, 8 s … up to the object's interval"
	noFetch    = "revisions are read from memory, not fetched"
	ownTokens  = "each identity keeps its own tokens for four fifths of their life"
	ownKeeping = "the current artifact and the one before it are kept"
)

var idleFlags = []idleFlag{
	{"no-remote-bases", "true", "remote bases are always refused"},
	{"artifact-digest-algo", "sha256", "artifacts have SHA-256 digests"},
	{"concurrent-ssa", "4", "the objects of a stage are applied side by side"},
	{"http-retry", "9", noFetch},
	{"kube-api-qps", "50", noThrottle},
	{"kube-api-burst", "300", noThrottle},
	{"min-retry-delay", "750ms", ownBackoff},
	{"max-retry-delay", "15m0s", ownBackoff},
	{"token-cache-max-size", "100", ownTokens},
	{"token-cache-max-duration", "1h0m0s", ownTokens},
	{"artifact-retention-ttl", "1m0s", ownKeeping},
	{"artifact-retention-records", "2", ownKeeping},
	{"helm-index-max-size", "52428800", noHelm},
	{"helm-chart-max-size", "10485760", noHelm},
	{"helm-chart-file-max-size", "5242880", noHelm},
	{"helm-cache-max-size", "0", noHelm},
	{"helm-cache-ttl", "15m", noHelm},
	{"helm-cache-purge-interval", "1m", noHelm},
}

func addIdle(cmd *cobra.Command) {
	f := cmd.Flags()
	for _, i := range idleFlags {
		f.String(i.name, i.value, "")
		if i.name == "no-remote-bases" {
			f.Lookup(i.name).NoOptDefVal = "true"
		}
		_ = f.MarkHidden(i.name) // it was just added
	}
}

// idleWarnings names the idle flags that were set to something else than their default.
func idleWarnings(c *cobra.Command) (warnings []string) {
	for _, i := range idleFlags {
		if f := c.Flags().Lookup(i.name); f.Changed && f.Value.String() != i.value {
			warnings = append(warnings, "--"+i.name+" has no effect: "+i.why)
		}
	}
	return warnings
}

// servingFlags say how GitRepositories are fetched and served, which is Flux's source-controller's work where they are
// only read.
var servingFlags = []string{"storage-path", "storage-addr", "storage-adv-addr", "default-source-service-account", "ssh-kex-algos", "ssh-hostkey-algos"}

// readWarnings names the flags that were set and say nothing where GitRepositories are only read.
func readWarnings(c *cobra.Command, mode reconcile.GitMode) (warnings []string) {
	for _, name := range servingFlags {
		if mode == reconcile.GitRead && c.Flags().Changed(name) {
			warnings = append(warnings, "--"+name+" has no effect: with --git-repositories=read, source-controller fetches and serves them")
		}
	}
	return warnings
}

// knownSSH refuses algorithms that Go's ssh doesn't have, which would fail each connection.
func knownSSH(kex, hostKeys []string) error {
	good, old := ssh.SupportedAlgorithms(), ssh.InsecureAlgorithms()
	for _, check := range []struct {
		flag        string
		asked, have []string
	}{
		{"ssh-kex-algos", kex, append(good.KeyExchanges, old.KeyExchanges...)},
		{"ssh-hostkey-algos", hostKeys, append(good.HostKeys, old.HostKeys...)},
	} {
		for _, name := range check.asked {
			if !slices.Contains(check.have, name) {
				return fmt.Errorf("--%s: unknown algorithm %q", check.flag, name)
			}
		}
	}
	return nil
}
