package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/keyring"
	"github.com/sluice-gitops/sluice/internal/secrets/check"
	"github.com/sluice-gitops/sluice/internal/sops"
)

// checkFlags are those of secrets check.
type checkFlags struct {
	streams          Streams
	staged, online   bool
	decrypt          bool
	decryptGiven     bool
	config, output   string
	exclude          []string
	recipients       []string
	asKustomizations []string
}

func newSecretsCheck(s Streams) *cobra.Command {
	f := &checkFlags{streams: s}
	cmd := &cobra.Command{Use: "check [PATH...]", Short: "Find secrets that are not sealed as the repository's rules say",
		Long: `Check finds plain Secrets that should be sealed, values left plain in sealed files, files sealed by a narrower rule or for
others than .sops.yaml says, broken MACs, and the marks of unresolved merges. It changes nothing and quotes no value.

Inside a Git work tree it looks at tracked files, with --staged at what is about to be committed; elsewhere at all files
below the working directory. MACs need a key: they are looked at with --decrypt, and by default where SOPS_AGE_KEY,
SOPS_AGE_KEY_FILE or SOPS_AGE_KEY_CMD names one; the last line says how many were.

Exit codes: 0 nothing found; 1 something found; 2 wrong usage, or rules that cannot be read.`,
		Example: "  sluice secrets check\n  sluice secrets check --staged\n  sluice secrets check --online --decrypt apps\n  sluice secrets check -o sarif > check.sarif",
		RunE: func(c *cobra.Command, args []string) error {
			f.decryptGiven = c.Flags().Changed("decrypt")
			if !slices.Contains(check.Formats, f.output) {
				return usage(c, fmt.Errorf("unknown output %q: use %s", f.output, strings.Join(check.Formats, ", ")))
			}
			return f.run(c.Context(), args)
		}}
	fl := cmd.Flags()
	fl.BoolVar(&f.staged, "staged", false, "look at what is about to be committed: for a pre-commit hook")
	fl.BoolVar(&f.decrypt, "decrypt", false, "verify MACs with every key at hand, a cloud's too; false: with none")
	fl.BoolVar(&f.online, "online", false, "ask Key Vault whether keys are the newest version, enabled and not expired")
	fl.StringVar(&f.config, "config", "", "the .sops.yaml of all files, in place of the nearest one above each")
	fl.StringArrayVar(&f.exclude, "exclude", nil, "files or folders to leave out, by glob (repeatable)")
	fl.StringSliceVar(&f.recipients, "as-recipient", nil, "public key of the cluster (age recipient, Key Vault key URL, PGP fingerprint …): every sealed file must be openable with one of them")
	fl.StringArrayVar(&f.asKustomizations, "as-kustomization", nil, "file with a Flux Kustomization: sealed files below its path must be ones that it decrypts (repeatable)")
	fl.StringVarP(&f.output, "output", "o", "text", strings.Join(check.Formats, ", "))
	return cmd
}

func (f *checkFlags) run(ctx context.Context, args []string) error {
	tree, err := check.NewTree(ctx, ".", f.staged)
	if err != nil {
		return err
	}
	defer tree.Close()
	if !tree.Git && len(args) == 0 {
		args = []string{"."}
	}
	o := check.Options{Read: tree.Read, Before: tree.Before}
	if o.Files, err = tree.Files(args, f.exclude); err != nil {
		return err
	}
	if f.config != "" {
		if o.Config, err = filepath.Abs(f.config); err != nil {
			return err
		}
	}
	if o.Cluster, err = f.cluster(); err != nil {
		return err
	}
	ring, person, err := f.streams.person("")
	if err != nil {
		return err
	}
	if f.online {
		o.Online = &check.Online{State: keyvault.New(person.Azure, keyvault.Options{}).KeyState}
	}
	o.Open = f.opener(ring, person)
	report, err := check.Run(ctx, o)
	if err != nil {
		return err
	}
	version, _ := BuildVersion()
	if err := report.Write(f.streams.Out, f.output, version); err != nil {
		return err
	}
	if report.Failed() {
		return &fault.Fault{Code: "SLU-CHECK-001", Hop: fault.HopSOPS, Seen: report.Summary(), Exit: fault.ExitNo,
			Fix: "each finding names its own; docs/secrets-check.md describes the checks"}
	}
	fmt.Fprintln(f.streams.Err, report.Summary())
	return nil
}

// opener verifies MACs, with the keys that --decrypt allows; nil for none. Without the flag only a key that the
// environment names is used: nothing is asked, no cloud, and nobody for a passphrase.
func (f *checkFlags) opener(ring *keyring.Ring, person keyring.Identity) func(context.Context, string, []byte, sops.Format) error {
	env := f.streams.Env
	switch {
	case f.decryptGiven && !f.decrypt:
		return nil
	case !f.decryptGiven && env("SOPS_AGE_KEY")+env("SOPS_AGE_KEY_FILE")+env("SOPS_AGE_KEY_CMD") == "":
		return nil
	case !f.decryptGiven:
		person.Name, person.Azure, person.Clouds = "workstation-offline", nil, keyring.Clouds{}
	}
	k := ring.For(person)
	return func(ctx context.Context, path string, data []byte, format sops.Format) error {
		plain, err := sops.Open(ctx, k, path, data, format, sops.Enforce)
		clear(plain)
		return err
	}
}

// cluster reads what --as-recipient and --as-kustomization say, nil for nothing.
func (f *checkFlags) cluster() (*check.Cluster, error) {
	if len(f.recipients)+len(f.asKustomizations) == 0 {
		return nil, nil
	}
	c := &check.Cluster{Recipients: f.recipients}
	for _, name := range f.asKustomizations {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, &fault.Fault{Code: "SLU-USAGE-042", Hop: fault.HopUsage, File: name, Seen: "the Kustomization cannot be read", Why: err.Error(), Fix: "correct --as-kustomization", Err: err}
		}
		found, err := fluxKustomizations(data)
		if err != nil || len(found) == 0 {
			return nil, &fault.Fault{Code: "SLU-USAGE-043", Hop: fault.HopUsage, File: name, Seen: "there is no Flux Kustomization in the file",
				Why: "it must be of kind Kustomization and API group kustomize.toolkit.fluxcd.io", Fix: "correct --as-kustomization", Err: err}
		}
		c.Kustomizations = append(c.Kustomizations, found...)
	}
	return c, nil
}

// fluxKustomizations reads those of a YAML stream.
func fluxKustomizations(data []byte) ([]check.Kustomization, error) {
	var out []check.Kustomization
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var k struct {
			APIVersion string `yaml:"apiVersion"`
			Kind       string
			Metadata   struct{ Namespace, Name string }
			Spec       struct {
				Path       string
				Decryption *struct {
					Provider  string
					SecretRef struct{ Name string } `yaml:"secretRef"`
				}
			}
		}
		switch err := dec.Decode(&k); {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, err
		}
		if k.Kind != "Kustomization" || !strings.HasPrefix(k.APIVersion, "kustomize.toolkit.fluxcd.io/") {
			continue
		}
		one := check.Kustomization{Name: orElse(k.Metadata.Namespace, "default") + "/" + k.Metadata.Name, Path: k.Spec.Path}
		if d := k.Spec.Decryption; d != nil {
			one.Decrypts, one.SecretRef = d.Provider == "sops", d.SecretRef.Name
		}
		out = append(out, one)
	}
}

// textconvTimeout is how long a diff waits for a vault.
const textconvTimeout = 10 * time.Second

// newSecretsTextconv is Git's diff driver.
func newSecretsTextconv(s Streams) *cobra.Command {
	return &cobra.Command{Use: "textconv FILE", Short: "Print a file for git diff: decrypted if that is possible, else as it is", Args: exactly("FILE"),
		Long: "Textconv is what `sluice secrets install` sets as Git's diff driver. Nothing that it prints is kept: Git reads it from a\npipe, and caches it only where cachetextconv is set, which install sets to false.",
		RunE: func(c *cobra.Command, args []string) error {
			data, err := os.ReadFile(args[0])
			if err != nil {
				return err
			}
			if sops.IsEncrypted(args[0], data) {
				ctx, cancel := context.WithTimeout(c.Context(), textconvTimeout)
				defer cancel()
				if ring, person, err := s.person(""); err == nil {
					// A diff is to show what stands there, so a wrong MAC is no obstacle.
					if plain, err := sops.Open(ctx, ring.For(person), args[0], data, sops.FormatFor(args[0]), sops.Off); err == nil {
						data = plain
					}
				}
			}
			_, err = s.Out.Write(data)
			return err
		}}
}
