package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/bootstrap"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/githost"
	"github.com/sluice-gitops/sluice/internal/githost/gitpush"
	"github.com/sluice-gitops/sluice/internal/onboard"
)

// bootstrapFlags are what every bootstrap command has, with Flux's names where Flux has them.
type bootstrapFlags struct {
	streams    Streams
	kube       kubeFlags
	components componentFlags

	branch, path, secretName           string
	interval                           time.Duration
	tokenAuth, replaceFlux, submodules bool
	export, silent                     bool

	authorName, authorEmail, appendix   string
	gpgKeyRing, gpgKeyID, gpgPassphrase string

	clientID, tenantID, identity, group, subscription string

	caFile, privateKeyFile, knownHostsFile, sshHostname string
	hostKeyAlgorithms                                   []string
	key                                                 githost.KeySpec
}

func newBootstrap(s Streams) *cobra.Command {
	b := &bootstrapFlags{streams: s}
	cmd := &cobra.Command{Use: "bootstrap", Short: "Put Sluice into a cluster and into the repository that the cluster is to follow", Args: none,
		Long: `Bootstrap writes the components, the sync and, with an Azure identity, the workload identity patches into
PATH/flux-system, commits and pushes them, installs them with the patches in force, and waits until the cluster is in
sync at the pushed revision. It is done when the cluster has opened what is encrypted in the repository.

What else stands in the repository stays, kustomization.yaml and its patches included. Run again it changes nothing;
run by a newer sluice it upgrades.

` + exitCodes,
		RunE: func(c *cobra.Command, _ []string) error {
			return usage(c, errors.New("bootstrap what: git, github, gitlab, gitea or azure-devops"))
		}}
	b.add(cmd)
	cmd.AddCommand(newBootstrapGit(b))
	cmd.AddCommand(newBootstrapHosts(b)...)
	return cmd
}

func (b *bootstrapFlags) add(cmd *cobra.Command) {
	b.kube.add(cmd, b.streams.Env)
	f := cmd.PersistentFlags()
	f.StringVar(&b.branch, "branch", "main", "the branch to commit to and to follow")
	f.StringVar(&b.path, "path", "", "the cluster's folder in the repository (default: its root)")
	f.DurationVar(&b.interval, "interval", time.Minute, "how often the cluster looks for a new revision")
	f.StringVar(&b.secretName, "secret-name", "", "Secret with the cluster's Git credentials (default: the namespace's name)")
	f.BoolVar(&b.submodules, "recurse-submodules", false, "let the cluster fetch the repository's Git submodules too")
	b.components.add(f)
	f.BoolVar(&b.tokenAuth, "token-auth", false, "let the cluster sign in with the token instead of an SSH deploy key")
	f.BoolVar(&b.replaceFlux, "replace-flux", false, "replace Flux's kustomize-controller, and its source-controller where nothing but Git repositories needs it")
	f.BoolVar(&b.export, "export", false, "print the files that would be written, and change nothing")
	f.BoolVarP(&b.silent, "silent", "s", false, "don't ask: a deploy key is taken for registered, an unknown SSH host key for genuine")
	f.StringVar(&b.authorName, "author-name", "Sluice", "author of the commit")
	f.StringVar(&b.authorEmail, "author-email", "", "the author's address")
	f.StringVar(&b.appendix, "commit-message-appendix", "", "text at the end of the commit message, such as [ci skip]")
	f.StringVar(&b.gpgKeyRing, "gpg-key-ring", "", "file of OpenPGP keys to sign the commit with")
	f.StringVar(&b.gpgKeyID, "gpg-key-id", "", "which key of the ring")
	f.StringVar(&b.gpgPassphrase, "gpg-passphrase", "", "the key's passphrase")
	f.StringVar(&b.clientID, "azure-client-id", "", "client id of the identity that decrypts; switches on workload identity")
	f.StringVar(&b.tenantID, "azure-tenant-id", "", "the identity's tenant")
	f.StringVar(&b.identity, "identity", "", "name of the identity, to look its ids up on Azure")
	f.StringVarP(&b.group, "resource-group", "g", "", "the identity's resource group")
	f.StringVar(&b.subscription, "subscription", "", "the identity's subscription (default $AZURE_SUBSCRIPTION_ID, or the only one there is)")
	f.StringVar(&b.caFile, "ca-file", "", "PEM file with the authority of the Git host's certificate")
	f.StringVar(&b.privateKeyFile, "private-key-file", "", "SSH key that the cluster gets, and that bootstrap git pushes with")
	f.StringVar(&b.knownHostsFile, "known-hosts-file", "", "file with the SSH host's key (default ~/.ssh/known_hosts)")
	f.StringVar(&b.sshHostname, "ssh-hostname", "", "SSH host and port that the cluster uses, if not the URL's")
	f.StringSliceVar(&b.hostKeyAlgorithms, "ssh-hostkey-algos", nil, "kinds of SSH host keys that this command takes, such as ssh-ed25519")
	f.StringVar(&b.key.Algorithm, "ssh-key-algorithm", "ecdsa", "of a new deploy key: ecdsa, ed25519 or rsa")
	f.StringVar(&b.key.Curve, "ssh-ecdsa-curve", "p384", "p256, p384 or p521")
	f.IntVar(&b.key.Bits, "ssh-rsa-bits", 2048, "size of an rsa key")
}

func (b *bootstrapFlags) credentialsSecret() string { return orElse(b.secretName, b.kube.namespace) }

// where is what a bootstrap command finds out for itself: which repository to push to, and how the cluster reads it.
type where struct {
	remote      gitpush.Remote
	syncURL     string
	credentials func(ctx context.Context, existing map[string][]byte) (map[string][]byte, error)
}

// run is what all bootstrap commands come to.
func (b *bootstrapFlags) run(c *cobra.Command, find func(ctx context.Context) (*where, error)) error {
	ctx, cancel := b.kube.deadline(c)
	defer cancel()
	if err := b.check(c); err != nil {
		return err
	}
	components, others, warnings, err := b.components.options(c, b.kube.namespace)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		say(b.streams, "⚠", "%s", w)
	}
	id, err := b.workloadIdentity(c)
	if err != nil {
		return err
	}
	change, err := b.commit()
	if err != nil {
		return err
	}
	kc, err := b.cluster()
	if err != nil {
		return err
	}
	w, err := find(ctx)
	if err != nil {
		return err
	}
	r := &onboard.Request{Client: kc, Remote: w.remote, Manifests: b.manifests(w, components, id, others), Commit: change, ReplaceFlux: b.replaceFlux,
		Credentials: w.credentials, Say: func(glyph, format string, args ...any) { say(b.streams, glyph, format, args...) }}
	if b.export {
		return b.print(ctx, r)
	}
	if err := onboard.Bootstrap(ctx, r); err != nil {
		return explainKube(err)
	}
	say(b.streams, "✔", "bootstrap finished")
	return nil
}

func (b *bootstrapFlags) check(c *cobra.Command) error {
	switch {
	case b.clientID == "" != (b.tenantID == ""):
		return usage(c, errors.New("--azure-client-id and --azure-tenant-id go together"))
	case b.identity == "" != (b.group == ""):
		return usage(c, errors.New("--identity and --resource-group go together"))
	case b.identity != "" && b.clientID != "":
		return usage(c, errors.New("give --azure-client-id with --azure-tenant-id, or --identity with --resource-group"))
	case b.gpgKeyRing == "" && (b.gpgKeyID != "" || b.gpgPassphrase != ""):
		return usage(c, errors.New("--gpg-key-id and --gpg-passphrase need --gpg-key-ring"))
	}
	if err := knownSSH(nil, b.hostKeyAlgorithms); err != nil {
		return usage(c, err)
	}
	return nil
}

// cluster is the client, or nil for --export, which asks no cluster.
func (b *bootstrapFlags) cluster() (client.Client, error) {
	if b.export {
		return nil, nil
	}
	cfg, err := b.kube.config()
	if err != nil {
		return nil, err
	}
	kc, err := client.New(cfg, client.Options{Scheme: onboard.Scheme()})
	return kc, explainKube(err)
}

// workloadIdentity is the identity that the flags name, its ids looked up on Azure where only its name is given.
func (b *bootstrapFlags) workloadIdentity(c *cobra.Command) (*bootstrap.Identity, error) {
	switch {
	case b.clientID != "":
		return &bootstrap.Identity{ClientID: b.clientID, TenantID: b.tenantID, Replace: true}, nil
	case b.identity == "":
		return nil, nil
	}
	az, err := (&azureFlags{streams: b.streams, group: b.group, subscription: b.subscription, output: "text"}).client(c)
	if err != nil {
		return nil, err
	}
	id, err := az.Identity(c.Context(), b.group, b.identity)
	if err != nil {
		return nil, err
	}
	if id == nil {
		return nil, &fault.Fault{Code: "SLU-RESOURCE-MANAGER-040", Hop: fault.HopARM, Object: b.identity, Seen: "resource group " + b.group + " has no such identity",
			Fix: "az identity list -g " + b.group + " -o table"}
	}
	return &bootstrap.Identity{ClientID: id.ClientID, TenantID: id.TenantID, Replace: true}, nil
}

func (b *bootstrapFlags) commit() (gitpush.Change, error) {
	version, _ := BuildVersion()
	message := fmt.Sprintf("Bootstrap Sluice %s for %s\n", version, orElse(b.path, "./"))
	if b.appendix != "" {
		message += "\n" + b.appendix + "\n"
	}
	change := gitpush.Change{Message: message, AuthorName: b.authorName, AuthorEmail: b.authorEmail}
	if b.gpgKeyRing == "" {
		return change, nil
	}
	ring, err := readFlagFile("--gpg-key-ring", b.gpgKeyRing)
	if err != nil {
		return change, err
	}
	change.Signer, err = gitpush.Signer(ring, b.gpgKeyID, b.gpgPassphrase)
	return change, err
}

func (b *bootstrapFlags) manifests(w *where, components bootstrap.Options, id *bootstrap.Identity, others []string) bootstrap.Repository {
	r := bootstrap.Repository{Components: components, Identity: id, Others: others,
		Sync: bootstrap.SyncOptions{Namespace: b.kube.namespace, URL: w.syncURL, Branch: b.branch, Path: b.path, Interval: b.interval, Submodules: b.submodules}}
	if w.credentials != nil {
		r.Sync.SecretRef = b.credentialsSecret()
	}
	return r
}

// print writes the files that a commit would hold, each under its path.
func (b *bootstrapFlags) print(ctx context.Context, r *onboard.Request) error {
	files, err := onboard.Export(ctx, r)
	if err != nil {
		return err
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		text := strings.TrimPrefix(string(files[name]), "---\n")
		if _, err := fmt.Fprintf(b.streams.Out, "---\n# File: %s\n%s", name, text); err != nil {
			return err
		}
	}
	return nil
}

func readFlagFile(flag, name string) ([]byte, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, &fault.Fault{Code: "SLU-USAGE-062", Hop: fault.HopUsage, Seen: "the file of " + flag + " can't be read", Why: err.Error(), Fix: "name a file that exists: " + flag + " FILE", Err: err}
	}
	return data, nil
}
