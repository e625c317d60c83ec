package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/secrets/rules"
)

// initRecipients are the fields of a creation rule that init can fill.
type initRecipients struct{ azure, age, pgp, kms, gcp, vault []string }

func newSecretsInit(s Streams) *cobra.Command {
	var who initRecipients
	var pattern, regex string
	cmd := &cobra.Command{Use: "init [FOLDER]", Short: "Write a .sops.yaml", Args: atMostOneFolder,
		Long: `Init writes the rules by which encrypt seals the Secrets of a repository: the values of data and stringData, for the
recipients that are named. It never overwrites a .sops.yaml.`,
		Example: "  sluice secrets init --azure-kv https://my-vault.vault.azure.net/keys/sops/0123456789abcdef0123456789abcdef\n  sluice secrets init --age age1… clusters/home",
		RunE: func(c *cobra.Command, args []string) error {
			folder := "."
			if len(args) == 1 {
				folder = args[0]
			}
			text := who.rules(pattern, regex)
			if len(who.all()) == 0 {
				return usage(c, errors.New("name at least one recipient: --azure-kv, --age, --pgp, --kms, --gcp-kms or --hc-vault-transit"))
			}
			return s.writeRules(filepath.Join(folder, rules.Name), text)
		}}
	f := cmd.Flags()
	f.StringSliceVar(&who.azure, "azure-kv", nil, "URL of a Key Vault key, with its version")
	f.StringSliceVarP(&who.age, "age", "a", nil, "age recipient")
	f.StringSliceVar(&who.pgp, "pgp", nil, "PGP fingerprint")
	f.StringSliceVar(&who.kms, "kms", nil, "ARN of an AWS KMS key")
	f.StringSliceVar(&who.gcp, "gcp-kms", nil, "resource id of a Google Cloud KMS key")
	f.StringSliceVar(&who.vault, "hc-vault-transit", nil, "URI of a key of Vault's transit engine")
	f.StringVar(&pattern, "path-regex", `.*\.ya?ml$`, "files that the rule is about")
	f.StringVar(&regex, "encrypted-regex", "^(data|stringData)$", "keys whose values are sealed")
	return cmd
}

func atMostOneFolder(c *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usage(c, fmt.Errorf("at most one FOLDER, got %d", len(args)))
	}
	return nil
}

func (w initRecipients) fields() [][2]any {
	return [][2]any{{"azure_keyvault", w.azure}, {"age", w.age}, {"pgp", w.pgp}, {"kms", w.kms}, {"gcp_kms", w.gcp}, {"hc_vault_transit_uri", w.vault}}
}

func (w initRecipients) all() (out []string) {
	for _, f := range w.fields() {
		out = append(out, f[1].([]string)...)
	}
	return out
}

// rules is the text of a .sops.yaml with one rule. Values are quoted as YAML's single-quoted strings.
func (w initRecipients) rules(pattern, regex string) string {
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	var b strings.Builder
	fmt.Fprintf(&b, "# The first rule whose path_regex matches a file says what of it is sealed, and for whom.\ncreation_rules:\n  - path_regex: %s\n    encrypted_regex: %s\n", quote(pattern), quote(regex))
	for _, f := range w.fields() {
		if list := f[1].([]string); len(list) > 0 {
			fmt.Fprintf(&b, "    %s:\n", f[0])
			for _, v := range list {
				fmt.Fprintf(&b, "      - %s\n", quote(v))
			}
		}
	}
	return b.String()
}

// writeRules writes rules that can be read, where there are none.
func (s Streams) writeRules(path, text string) error {
	if _, err := rules.Parse(path, []byte(text)); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return &fault.Fault{Code: "SLU-RULES-003", Hop: fault.HopUsage, File: path, Seen: "there are rules already", Why: "init never overwrites them", Fix: "edit " + path, Err: err}
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	fmt.Fprintln(s.Out, path)
	return nil
}
