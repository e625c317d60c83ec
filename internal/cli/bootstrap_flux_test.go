package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/sluice-gitops/sluice/internal/bootstrap"
	"github.com/sluice-gitops/sluice/internal/testkit"
	"github.com/sluice-gitops/sluice/internal/testkit/gitserver"
)

// bootstrapFlag is one flag of `flux bootstrap`, with what becomes of it here.
type bootstrapFlag struct {
	flag, value string
	url         string   // "ssh": the repository is reached so; "none": nothing is run here, test has the proof
	prints      []string // what --export then prints; with "!" before it: what it does not print
	warns       string   // part of the warning
	refused     string   // part of the reason
	how         string   // for the reader: how it differs, or why
	test        string   // where another test has the proof
}

const atOnce = "TestEachFlagOfFluxBootstrapWorksWarnsOrIsRefused"

// fluxBootstrap are the flags that all of Flux's bootstrap commands have, fluxBootstrapGit those of git, and
// fluxBootstrapHosts those of github, gitlab and gitea.
var fluxBootstrap = []bootstrapFlag{
	{flag: "author-email", url: "none", test: "TestBootstrapGitOverHTTPS"},
	{flag: "author-name", url: "none", test: "TestBootstrapGitOverHTTPS", how: "Sluice, if not given"},
	{flag: "branch", value: "dev", prints: []string{"branch: dev\n"}},
	{flag: "ca-file", url: "none", test: "TestBootstrapGitOverHTTPS"},
	{flag: "cluster-domain", value: "k8s.example.org", prints: []string{"svc.k8s.example.org.", "!cluster.local"}},
	{flag: "commit-message-appendix", url: "none", test: "TestBootstrapGitOverHTTPS"},
	{flag: "components", value: "source-controller,kustomize-controller", prints: []string{"name: kustomize-controller"},
		how: "both are Sluice; others that are named must stand in the repository, none is expected"},
	{flag: "components", value: "kustomize-controller", refused: "source-controller"},
	{flag: "components", value: "source-controller,kustomize-controller,helm-controller", refused: "flux install --components=helm-controller --export"},
	{flag: "components-extra", value: "source-watcher", refused: "flux install --components=source-watcher --export"},
	{flag: "components-extra", value: "rot13-controller", refused: "no controller of Flux"},
	{flag: "components-extra", url: "none", test: "TestExtraControllersMustStandInTheRepository", how: "taken where the repository holds the controller's manifest"},
	{flag: "force", value: "true", warns: "--replace-flux", how: "a cluster that runs Flux is taken over with `--replace-flux` alone"},
	{flag: "gpg-key-id", url: "none", test: "TestBootstrapSignsWithTheKeyOfTheRingThatIsNamed", how: "needed where the ring has several private keys; Flux takes the first"},
	{flag: "gpg-key-ring", url: "none", test: "TestBootstrapSignsWithTheKeyOfTheRingThatIsNamed", how: "armored or binary"},
	{flag: "gpg-passphrase", url: "none", test: "TestBootstrapSignsWithTheKeyOfTheRingThatIsNamed"},
	{flag: "image-pull-secret", value: "pull", prints: []string{"imagePullSecrets:\n      - name: \"pull\"\n"}},
	{flag: "log-level", value: "debug", prints: []string{"--log-level=debug\n"}},
	{flag: "log-level", value: "loud", refused: "loud"},
	{flag: "manifests", value: "/m", refused: "part of the program"},
	{flag: "network-policy", value: "false", prints: []string{"!kind: NetworkPolicy"}},
	{flag: "private-key-file", url: "none", test: "TestBootstrapGitOverSSHGivesTheClusterTheKeyOfTheFile", how: "with the named hosts, the key that is registered"},
	{flag: "recurse-submodules", value: "true", prints: []string{"recurseSubmodules: true\n"}},
	{flag: "registry", value: "registry.example/mirror", prints: []string{"image: registry.example/mirror/sluice:"}},
	{flag: "registry-creds", value: "u:p", refused: "kubectl create secret docker-registry"},
	{flag: "secret-name", value: "creds", url: "ssh", prints: []string{"secretRef:\n    name: creds\n"}},
	{flag: "ssh-ecdsa-curve", url: "none", test: "githost: TestNewKeysAreOfTheKindAskedFor"},
	{flag: "ssh-hostkey-algos", value: "ssh-rsa", url: "ssh", refused: "--ssh-hostkey-algos"},
	{flag: "ssh-hostkey-algos", value: "rot13", refused: "unknown algorithm"},
	{flag: "ssh-hostkey-algos", value: "ssh-ed25519", url: "ssh", prints: []string{"url: ssh://"}},
	{flag: "ssh-hostname", value: "ssh.example.org:2222", url: "ssh", prints: []string{"url: ssh://git@ssh.example.org:2222/team/fleet.git\n"}},
	{flag: "ssh-key-algorithm", url: "none", test: "githost: TestNewKeysAreOfTheKindAskedFor"},
	{flag: "ssh-rsa-bits", url: "none", test: "githost: TestNewKeysAreOfTheKindAskedFor"},
	{flag: "token-auth", value: "true", url: "ssh", prints: []string{"url: https://127.0.0.1/team/fleet.git\n"},
		how: "over an https URL the cluster gets the credentials with or without it; Flux makes an SSH key without it"},
	{flag: "toleration-keys", value: "example.org/a,b", prints: []string{"- key: \"example.org/a\"\n        operator: Exists\n      - key: \"b\"\n"}},
	{flag: "version", value: bootstrap.Release, prints: []string{"sluice:" + bootstrap.Release}},
	{flag: "version", value: "v2.8.0", refused: "no other version", how: "its own alone"},
	{flag: "watch-all-namespaces", value: "false", prints: []string{"--watch-all-namespaces=false\n"}},
}

var fluxBootstrapGit = []bootstrapFlag{
	{flag: "allow-insecure-http", url: "none", test: "TestBootstrapRefusesWhatItCannotDo"},
	{flag: "interval", value: "7m", prints: []string{"interval: 7m0s\n"}},
	{flag: "password", url: "none", test: "TestBootstrapGitOverHTTPS", how: "passphrase of the SSH key, too; or GIT_PASSWORD"},
	{flag: "path", value: "./clusters/x/", prints: []string{"# File: clusters/x/flux-system/gotk-sync.yaml\n", "path: ./clusters/x\n"}},
	{flag: "silent", url: "none", test: "TestASilentBootstrapIsFinishedByASecondOnceTheKeyIsRegistered", how: "answers the question about an unknown SSH host key too, which Flux does not put"},
	{flag: "url", url: "none", test: "TestBootstrapGitOverHTTPS"},
	{flag: "username", value: "ada", url: "ssh", prints: []string{"url: ssh://ada@"}},
	{flag: "with-bearer-token", url: "none", test: "TestBootstrapGitWithABearerToken"},
}

var fluxBootstrapHosts = []bootstrapFlag{
	{flag: "deploy-token-auth", url: "none", test: "TestBootstrapGitLabMakesOneDeployTokenForTheCluster", how: "gitlab"},
	{flag: "hostname", url: "none", test: "TestBootstrapGiteaMakesTheRepositoryAndRegistersADeployKey"},
	{flag: "interval", url: "none", test: atOnce},
	{flag: "owner", url: "none", test: "TestBootstrapGiteaMakesTheRepositoryAndRegistersADeployKey", how: "azure-devops: ORGANISATION/PROJECT"},
	{flag: "path", url: "none", test: atOnce},
	{flag: "personal", url: "none", test: "githost: TestAPublicRepositoryOfAUserIsMadeAsSuch"},
	{flag: "private", url: "none", test: "githost: TestAPublicRepositoryOfAUserIsMadeAsSuch"},
	{flag: "read-write-key", url: "none", test: "TestBootstrapGiteaTakesAKeyOfOnesOwnAndLetsItPushWhenToldTo"},
	{flag: "reconcile", url: "none", test: "githost: TestOnlyReconcileSetsTheVisibilityOfARepositoryThatIsThere", how: "the visibility; refused for azure-devops"},
	{flag: "repository", url: "none", test: "TestBootstrapGiteaMakesTheRepositoryAndRegistersADeployKey"},
	{flag: "team", url: "none", test: "githost: TestTeamsGetAccessToARepositoryThatIsThere", how: "refused for azure-devops, and with `--personal`; gitea takes NAME alone"},
	{flag: "visibility", url: "none", test: "githost: TestGitLabsInternalProjectsAreMadeAsSuch", how: "gitlab"},
}

// exporter gives the command line of an export over https or ssh.
func exporter(t *testing.T, host *gitserver.Server) func(scheme string) []string {
	t.Helper()
	h := host.SSH()
	signer, private := gitserver.Key(t)
	if err := h.Allow(ssh.MarshalAuthorizedKey(signer.PublicKey()), true); err != nil {
		t.Fatal(err)
	}
	known := file(t, append(h.KnownHosts, knownhosts.Line([]string{"ssh.example.org:2222"}, h.HostKey)+"\n"...))
	key, ca := file(t, private), file(t, host.CA)
	return func(scheme string) []string {
		if scheme == "ssh" {
			return []string{"bootstrap", "git", "--export", "--url", h.URL, "--known-hosts-file", known, "--private-key-file", key, "--password", "unused"}
		}
		return []string{"bootstrap", "git", "--export", "--url", host.URL, "--username", gitserver.User, "--password", gitserver.Password, "--ca-file", ca}
	}
}

func runAlone(t *testing.T, args ...string) (out, errs string, code int) {
	t.Helper()
	var o, e lockedBuffer
	code = Run(t.Context(), args, Streams{Out: &o, Err: &e, Env: func(string) string { return "" }})
	return o.String(), e.String(), code
}

func TestEachFlagOfFluxBootstrapWorksWarnsOrIsRefused(t *testing.T) {
	args := exporter(t, gitserver.New(t))
	for _, f := range append(slices.Clone(fluxBootstrap), fluxBootstrapGit...) {
		if f.url == "none" {
			continue
		}
		t.Run(f.flag+"="+f.value, func(t *testing.T) {
			out, errs, code := runAlone(t, append(args(f.url), "--"+f.flag+"="+f.value)...)
			switch {
			case f.refused != "":
				if code == 0 || !strings.Contains(errs, f.refused) {
					t.Errorf("exit %d, want to be refused for %q: %s", code, f.refused, errs)
				}
				return
			case code != 0 || strings.Contains(errs, "⚠") != (f.warns != "") || !strings.Contains(errs, f.warns):
				t.Errorf("exit %d: %s", code, errs)
			}
			for _, want := range f.prints {
				text, not := strings.CutPrefix(want, "!")
				if strings.Contains(out, text) == not {
					t.Errorf("%q is printed: %v\n%s", text, not, out)
				}
			}
		})
	}
}

func TestExtraControllersMustStandInTheRepository(t *testing.T) {
	host := gitserver.New(t)
	deployment := "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: %s\n  namespace: flux-system\n"
	host.Commit(map[string]string{"flux-system/source-watcher.yaml": fmt.Sprintf(deployment, "source-watcher"),
		"flux-system/gotk-others.yaml": fmt.Sprintf(deployment, "notification-controller")})
	out, errs, code := runAlone(t, append(exporter(t, host)("https"), "--components-extra", "source-watcher,notification-controller")...)
	if code != 0 || !strings.Contains(out, "- source-watcher.yaml") || !strings.Contains(out, "--events-addr=http://notification-controller.") {
		t.Errorf("exit %d: %s%s", code, errs, out)
	}
}

// What needs Flux's source-controller is looked for in the whole repository.
func TestExportReadsARepositoryThatFluxBootstrapped(t *testing.T) {
	host := gitserver.New(t)
	deployment := "# This manifest was generated by flux.\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: source-controller\n  namespace: flux-system\n"
	host.Commit(map[string]string{"flux-system/gotk-components.yaml": deployment, "apps/app.yaml": "kind: ConfigMap\n"})
	out, errs, code := runAlone(t, exporter(t, host)("https")...)
	if code != 0 || strings.Contains(out, "name: source-controller\n  namespace: flux-system\nspec:\n  replicas") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

// subcommand finds a command below `sluice bootstrap`.
func subcommand(t *testing.T, name string) *cobra.Command {
	t.Helper()
	c, _, err := Command().Find([]string{"bootstrap", name})
	if err != nil || c.Name() != name {
		t.Fatalf("%s: %v", name, err)
	}
	return c
}

func TestEveryFlagOfFluxBootstrapIsThere(t *testing.T) {
	for command, flags := range map[string][]bootstrapFlag{
		"git": append(slices.Clone(fluxBootstrap), fluxBootstrapGit...), "github": append(slices.Clone(fluxBootstrap), fluxBootstrapHosts...),
		"gitlab": append(slices.Clone(fluxBootstrap), fluxBootstrapHosts...), "gitea": append(slices.Clone(fluxBootstrap), fluxBootstrapHosts...),
	} {
		c := subcommand(t, command)
		for _, f := range flags {
			if f.how == "gitlab" && command != "gitlab" {
				continue
			}
			if c.Flag(f.flag) == nil {
				t.Errorf("%s has no --%s", command, f.flag)
			}
		}
	}
	for short, long := range map[string]string{"u": "username", "p": "password", "s": "silent", "v": "version"} {
		c := subcommand(t, "git")
		f := c.Flags().ShorthandLookup(short)
		if f == nil {
			f = c.InheritedFlags().ShorthandLookup(short)
		}
		if f == nil || f.Name != long {
			t.Errorf("-%s is not --%s", short, long)
		}
	}
	if _, errs, code := runAlone(t, "bootstrap", "bitbucket-server", "--owner", "x"); code != 2 || !strings.Contains(errs, "sluice bootstrap git --url ssh://") {
		t.Errorf("bitbucket-server: exit %d: %s", code, errs)
	}
}

// docs/bootstrap-flags.md is generated: go test ./internal/cli -run FlagsPage -update
func TestTheFlagsPageSaysWhatTheTablesSay(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("# The flags of flux bootstrap\n\nGenerated by `make golden` from the tables of `internal/cli/bootstrap_flux_test.go`, which hold each row; tests are in\n`internal/cli` where no package is named. Flux's are those of version 2.8. `--kubeconfig`, `--context`, `--namespace` and\n`--timeout` are there; what Flux's other global flags say, a kubeconfig says. `flux bootstrap bitbucket-server` is refused\nby name.\n")
	for _, part := range []struct {
		title string
		flags []bootstrapFlag
	}{{"All commands", fluxBootstrap}, {"bootstrap git", fluxBootstrapGit}, {"bootstrap github, gitlab, gitea, azure-devops", fluxBootstrapHosts}} {
		fmt.Fprintf(&b, "\n## %s\n\n| Flag | State | How, or why | Test |\n|---|---|---|---|\n", part.title)
		for _, f := range part.flags {
			if f.test != "" {
				mustBeTest(t, f.test)
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | `%s` |\n", f.spelled(), f.state(), f.remark(), orElse(f.test, atOnce))
		}
	}
	testkit.Golden(t, filepath.Join("..", "..", "docs", "bootstrap-flags.md"), b.Bytes())
}

func (f bootstrapFlag) spelled() string {
	if f.value == "" {
		return "--" + f.flag
	}
	return "--" + f.flag + "=" + f.value
}

func (f bootstrapFlag) state() string {
	switch {
	case f.refused != "":
		return "refused"
	case f.warns != "":
		return "warns"
	}
	return "works"
}

func (f bootstrapFlag) remark() string {
	said := f.refused
	if said == "" {
		said = f.warns
	}
	if said != "" {
		said = "says: " + said
	}
	return strings.Trim(strings.Join([]string{f.how, said}, "; "), "; ")
}

// mustBeTest holds that a test of that name exists, as "TestName" here or "package: TestName".
func mustBeTest(t *testing.T, name string) {
	t.Helper()
	dir := "."
	if pkg, test, ok := strings.Cut(name, ": "); ok {
		dir, name = filepath.Join("..", pkg), test
	}
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil && bytes.Contains(text, []byte("\nfunc "+name+"(")) {
			return
		}
	}
	t.Errorf("there is no test %s in %s", name, dir)
}
