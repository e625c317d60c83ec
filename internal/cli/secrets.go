package cli

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/keyring"
	"github.com/sluice-gitops/sluice/internal/secrets/scratch"
)

const secretsLong = `Secrets reads and writes the files of the sops command: what one has written the other one reads. Flags, environment
variables, .sops.yaml and exit codes are sops's. Beyond sops, every verb that writes takes many files, folders and globs,
works on them side by side, writes each whole or not at all, and refuses to seal a file more narrowly than the
repository's rules say, or for somebody whom they do not list.`

const secretsExample = `  sluice secrets init --age age1…                       # once: who may read the repository's secrets
  sluice secrets encrypt -i apps/                       # seal what is plain
  sluice secrets edit apps/db.yaml                      # plaintext in memory only
  sluice secrets check                                  # before a commit, and in CI
  sluice secrets rotate -i --outdated .                 # after a Key Vault key was rotated`

// secretGroups order the help.
var secretGroups = []*cobra.Group{
	{ID: "files", Title: "Files:"}, {ID: "run", Title: "Programs that need secrets:"}, {ID: "keys", Title: "Keys and recipients:"}, {ID: "repository", Title: "Repository:"},
}

var groupOf = map[string]string{
	"encrypt": "files", "decrypt": "files", "edit": "files", "set": "files", "unset": "files", "status": "files",
	"exec-env": "run", "exec-file": "run",
	"rotate": "keys", "updatekeys": "keys", "groups": "keys", "keys": "keys",
	"init": "repository", "check": "repository", "install": "repository", "textconv": "repository",
}

// newSecrets is the parent of everything about SOPS files.
func newSecrets(s Streams) *cobra.Command {
	cmd := &cobra.Command{Use: "secrets", Aliases: []string{"secret"}, Short: "Encrypt, decrypt, edit and check SOPS files", Args: none, Long: secretsLong, Example: secretsExample,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	cmd.AddCommand(
		newSecretsEncrypt(s), newSecretsDecrypt(s), newSecretsEdit(s), newSecretsSet(s), newSecretsUnset(s),
		newSecretsRotate(s), newSecretsUpdateKeys(s), newSecretsStatus(s), newSecretsExecEnv(s), newSecretsExecFile(s),
		newSecretsCheck(s), newSecretsKeys(s), newSecretsInit(s), newSecretsInstall(s), newSecretsTextconv(s),
		newSecretsGroups(s), newSecretsSweep(),
	)
	cmd.AddCommand(refusedCommands()...)
	cmd.AddGroup(secretGroups...)
	for _, c := range cmd.Commands() {
		c.GroupID = groupOf[c.Name()]
	}
	return cmd
}

// newSecretsSweep is the process that removes an editor's file when sluice itself was killed.
func newSecretsSweep() *cobra.Command {
	return &cobra.Command{Use: "sweep FOLDER", Hidden: true, Short: "Remove a scratch folder when its owner is gone (started by sluice secrets edit)", Args: exactly("FOLDER"),
		RunE: func(_ *cobra.Command, args []string) error { return scratch.Sweep(args[0], os.Stdin, os.Stdout) }}
}

// sweeper is the command line that ends in scratch.Sweep.
func sweeper() ([]string, error) {
	exe, err := os.Executable()
	return []string{exe, "secrets", "sweep"}, err
}

// person is the identity of whoever runs the command, with one ring for all files of it, which asks recipients of the
// kinds in order first.
func (s Streams) person(profile string, order ...string) (*keyring.Ring, keyring.Identity, error) {
	limit, err := s.keyTimeout()
	if err != nil {
		return nil, keyring.Identity{}, err
	}
	id, err := keyring.Workstation(context.Background(), keyring.WorkstationOptions{Env: s.Env, Stderr: s.Err, AWSProfile: profile})
	return keyring.New(keyring.Options{Order: order, Timeout: limit}), id, err
}

// input reads all of standard input.
func (s Streams) input() ([]byte, error) {
	if s.In == nil {
		return nil, nil
	}
	return io.ReadAll(s.In)
}

// sopsCodes are the exit codes that sops has for what our faults say.
var sopsCodes = map[string]int{
	"SLU-SOPS-001": 1, "SLU-SOPS-002": 1, "SLU-SOPS-003": 1, "SLU-SOPS-004": 1, "SLU-SOPS-005": 1, "SLU-SOPS-008": 1,
	"SLU-SOPS-006": 25, "SLU-SOPS-007": 51, "SLU-SOPS-009": 4, "SLU-SOPS-010": 2, "SLU-SOPS-011": 92, "SLU-SOPS-012": 203,
	"SLU-SOPS-013": 23, "SLU-SOPS-014": 1, "SLU-SOPS-015": 1, "SLU-SOPS-016": 1, "SLU-SOPS-017": 1, "SLU-SOPS-018": 4,
	"SLU-SOPS-019": 1, "SLU-SOPS-020": 1, "SLU-SOPS-021": 23, "SLU-USAGE-021": 8, "SLU-USAGE-022": 1, "SLU-USAGE-023": 1,
}

// likeSOPS gives a failure the exit code that sops would end with.
func likeSOPS(err error) error {
	f := fault.From(err)
	if f == nil || f.Exit != 0 {
		return err
	}
	code, ok := sopsCodes[f.Code]
	switch f.Hop {
	case fault.HopVault, fault.HopKey, fault.HopKeyring, fault.HopIdentity, fault.HopEntra:
		code, ok = 128, true
	}
	if !ok {
		return err
	}
	named := *f
	named.Exit = code
	return &named
}

// exitWith gives a fault an exit code of sops.
func exitWith(err error, code int) error {
	f := fault.From(err)
	if f == nil {
		return err
	}
	named := *f
	named.Exit = code
	return &named
}

// conflicting is the fault of flags that cannot stand together.
func conflicting(c *cobra.Command, text string) error { return exitWith(usage(c, errors.New(text)), 8) }

// noFile is the fault of a missing argument.
func noFile(c *cobra.Command, text string) error { return exitWith(usage(c, errors.New(text)), 100) }

// note prints what a user should know besides the result.
func (s Streams) note(path string, tell []string) {
	r := event.NewPlain(s.Err, style(s))
	defer r.Close()
	for _, t := range tell {
		event.Warning(r, path+": "+t)
	}
}
