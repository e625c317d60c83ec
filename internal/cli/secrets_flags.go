package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluice-gitops/sluice/internal/keyring"
	"github.com/sluice-gitops/sluice/internal/secrets"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// secretsFlags are the flags that verbs share. Each verb adds the groups that it has.
type secretsFlags struct {
	streams Streams
	config  string
	inType  string
	outType string
	name    string
	indent  int
	inPlace bool
	output  string
	noMAC   bool

	allowNarrower, allowUnlisted bool
	shamir                       int
	order                        []string
	selection                    secrets.Selection
	who                          recipientFlags

	// prepare completes the engine before the first file; nil: nothing to do.
	prepare func(ctx context.Context, e *secrets.Engine) error
	command *cobra.Command
	ring    *keyring.Ring
	person  keyring.Identity
}

// recipientFlags hold lists that may be given several times, with commas or both.
type recipientFlags struct {
	kms, gcp, azure, vault, pgp, age []string
	context, profile                 string
}

func (f *secretsFlags) common(c *cobra.Command) *pflag.FlagSet {
	f.command = c
	fl := c.Flags()
	fl.StringVar(&f.config, "config", "", "the .sops.yaml to use, instead of the one found upwards (default $SOPS_CONFIG)")
	fl.StringVar(&f.inType, "input-type", "", "yaml, json, dotenv, ini or binary (default: by the file's suffix)")
	fl.StringSliceVar(&f.order, "decryption-order", nil, "kinds of keys to try first: age, pgp, azure_kv, kms, gcp_kms, hc_vault (default $SOPS_DECRYPTION_ORDER, else what costs least)")
	refuseFlags(fl)
	return fl
}

func (f *secretsFlags) out(fl *pflag.FlagSet) {
	fl.StringVar(&f.outType, "output-type", "", "yaml, json, dotenv, ini or binary (default: by the file's suffix)")
	fl.IntVar(&f.indent, "indent", 4, "spaces of one level in YAML and JSON (default: as .sops.yaml's stores say)")
}

func (f *secretsFlags) write(fl *pflag.FlagSet) {
	fl.BoolVarP(&f.inPlace, "in-place", "i", false, "write the result back into the file; needed for several files")
	fl.StringVar(&f.output, "output", "", "write the result into this file instead of stdout")
	fl.StringVar(&f.name, "filename-override", "", "take this name for the rules and the format")
}

func (f *secretsFlags) mac(fl *pflag.FlagSet) {
	fl.BoolVar(&f.noMAC, "ignore-mac", false, "open the file though its MAC does not match what stands in it")
}

func (f *secretsFlags) policy(fl *pflag.FlagSet) {
	fl.BoolVar(&f.allowNarrower, "allow-narrower", false, "seal although the file encrypts less than its rule in .sops.yaml wants")
	fl.BoolVar(&f.allowUnlisted, "allow-unlisted", false, "seal although the file has recipients that its rule in .sops.yaml does not list")
}

func (f *secretsFlags) recipients(fl *pflag.FlagSet) {
	f.who.add(fl, "", "k", "p", "a")
	fl.IntVar(&f.shamir, "shamir-secret-sharing-threshold", 0, "how many key groups are needed to open the file (default: all)")
}

func (w *recipientFlags) add(fl *pflag.FlagSet, verb, k, p, a string) {
	what := map[string]string{"": "encrypt for", "add-": "add", "rm-": "take away"}[verb]
	env := func(name string) string {
		if verb != "" {
			return ""
		}
		return " (default $" + name + ")"
	}
	fl.StringSliceVarP(&w.kms, verb+"kms", k, nil, what+" AWS KMS keys, by ARN"+env("SOPS_KMS_ARN"))
	fl.StringSliceVar(&w.gcp, verb+"gcp-kms", nil, what+" GCP KMS keys, by resource ID"+env("SOPS_GCP_KMS_IDS"))
	fl.StringSliceVar(&w.azure, verb+"azure-kv", nil, what+" Azure Key Vault keys, by URL"+env("SOPS_AZURE_KEYVAULT_URLS"))
	fl.StringSliceVar(&w.vault, verb+"hc-vault-transit", nil, what+" HashiCorp Vault transit keys, by URI"+env("SOPS_VAULT_URIS"))
	fl.StringSliceVarP(&w.pgp, verb+"pgp", p, nil, what+" PGP keys, by fingerprint"+env("SOPS_PGP_FP"))
	fl.StringSliceVarP(&w.age, verb+"age", a, nil, what+" age recipients"+env("SOPS_AGE_RECIPIENTS"))
	if verb != "rm-" && fl.Lookup("encryption-context") == nil {
		fl.StringVar(&w.context, "encryption-context", "", "context of AWS KMS: name:value,name:value")
		fl.StringVar(&w.profile, "aws-profile", "", "the AWS profile to use")
	}
}

func (w *recipientFlags) list(env func(string) string) secrets.Recipients {
	or := func(list []string, name string) string {
		if len(list) > 0 {
			return strings.Join(list, ",")
		}
		return env(name)
	}
	return secrets.Recipients{
		KMS: or(w.kms, "SOPS_KMS_ARN"), GCPKMS: or(w.gcp, "SOPS_GCP_KMS_IDS"), AzureKV: or(w.azure, "SOPS_AZURE_KEYVAULT_URLS"),
		HCVaultTransit: or(w.vault, "SOPS_VAULT_URIS"), PGP: or(w.pgp, "SOPS_PGP_FP"), Age: or(w.age, "SOPS_AGE_RECIPIENTS"),
		EncryptionContext: w.context, AWSProfile: w.profile,
	}
}

func (f *secretsFlags) selects(fl *pflag.FlagSet) {
	s := &f.selection
	fl.StringVar(&s.EncryptedRegex, "encrypted-regex", "", "encrypt the values under keys that match")
	fl.StringVar(&s.UnencryptedRegex, "unencrypted-regex", "", "leave the values under keys that match")
	fl.StringVar(&s.EncryptedSuffix, "encrypted-suffix", "", "encrypt the values under keys that end so")
	fl.StringVar(&s.UnencryptedSuffix, "unencrypted-suffix", "", "leave the values under keys that end so")
	fl.StringVar(&s.EncryptedCommentRegex, "encrypted-comment-regex", "", "encrypt the values whose comment matches")
	fl.StringVar(&s.UnencryptedCommentRegex, "unencrypted-comment-regex", "", "leave the values whose comment matches")
	fl.BoolVar(&s.MACOnlyEncrypted, "mac-only-encrypted", false, "compute the MAC over encrypted values alone")
}

// engine builds what the verbs run on.
func (f *secretsFlags) engine() (*secrets.Engine, error) {
	e := &secrets.Engine{Config: &secrets.Config{Path: orElse(f.config, f.streams.Env("SOPS_CONFIG"))}, Shamir: f.shamir, Select: f.selection,
		Name: f.name, AllowNarrower: f.allowNarrower, AllowUnlisted: f.allowUnlisted}
	var err error
	if f.inType != "" {
		if e.In, err = sops.ParseFormat(f.inType); err != nil {
			return nil, usage(f.command, err)
		}
	}
	if f.outType != "" {
		if e.Out, err = sops.ParseFormat(f.outType); err != nil {
			return nil, usage(f.command, err)
		}
	}
	if f.noMAC {
		e.MAC = sops.Off
	}
	if f.command.Flags().Changed("indent") {
		e.Indent = &f.indent
	}
	if who := f.who.list(f.streams.Env); f.command.Flags().Lookup("age") != nil && !who.Empty() {
		if _, err := who.Keys(); err != nil {
			return nil, err
		}
		e.Groups = func() ([]recipient.Group, error) {
			g, err := who.Keys()
			return []recipient.Group{g}, err
		}
	}
	if err := refused(f.command, f.streams.Env); err != nil {
		return nil, err
	}
	order, err := f.decryptionOrder()
	if err != nil {
		return nil, err
	}
	if f.ring, f.person, err = f.streams.person(f.who.profile, order...); err != nil {
		return nil, err
	}
	e.Keys = namesHuawei{f.ring.For(f.person)}
	public, err := storedKeys()
	if err != nil {
		return nil, err
	}
	limit, err := f.streams.keyTimeout()
	e.Wrap = wrapsNoHuawei(wrapsInTime(keyring.Wrapper{Azure: public, Online: f.ring.Online(f.person)}.Wrap, limit))
	return e, err
}
