package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// What sops has and sluice does not is refused by name, with the reason and another way: a flag that is ignored, or an
// "unknown flag", would leave its user to guess.
var refusedFlags = map[string][2]string{
	"keyservice":              {"a key service is a second process that holds your keys; sluice asks the keys' own services", "sign in to the service that holds the key, on this machine"},
	"enable-local-keyservice": {"there is no key service but this process", "leave the flag out"},
	"hckms":                   {"Huawei Cloud KMS is not there", "name another recipient: --age age1…"},
	"add-hckms":               {"Huawei Cloud KMS is not there", "name another recipient: --add-age age1…"},
	"rm-hckms":                {"Huawei Cloud KMS is not there", "take the recipient away with sops rotate --rm-hckms"},
	"background":              {"whoever takes the plaintext back must stay until the command ends; sops calls the flag deprecated", "leave the flag out, and let the shell run sluice itself in the background"},
}

// refuseFlags takes the flags, hidden, so that refused can speak of them.
func refuseFlags(fl *pflag.FlagSet) {
	for name := range refusedFlags {
		switch name {
		case "enable-local-keyservice", "background":
			fl.Bool(name, name == "enable-local-keyservice", "not there")
		default:
			fl.StringSlice(name, nil, "not there")
		}
		_ = fl.MarkHidden(name)
	}
	fl.Bool("verbose", false, "not needed: everything is said without it")
	_ = fl.MarkHidden("verbose")
}

// refused is the fault of a flag, or its variable, that sluice does not have.
func refused(c *cobra.Command, env func(string) string) error {
	given := ""
	for name := range refusedFlags {
		f := c.Flags().Lookup(name)
		if f != nil && f.Changed && (name != "enable-local-keyservice" || f.Value.String() == "false") {
			given = "--" + name
		}
	}
	for variable, name := range map[string]string{"SOPS_KEYSERVICE": "keyservice", "SOPS_HUAWEICLOUD_KMS_IDS": "hckms"} {
		if env(variable) != "" && given == "" && c.Flags().Lookup(name) != nil && (name != "hckms" || c.Name() == "encrypt") {
			given = "$" + variable
		}
	}
	if given == "" {
		return nil
	}
	why := refusedFlags[strings.TrimPrefix(given, "--")]
	switch given {
	case "$SOPS_KEYSERVICE":
		why = refusedFlags["keyservice"]
	case "$SOPS_HUAWEICLOUD_KMS_IDS":
		why = refusedFlags["hckms"]
	}
	return &fault.Fault{Code: "SLU-USAGE-036", Hop: fault.HopUsage, Seen: "sluice secrets " + c.Name() + " has no " + given, Why: why[0], Fix: why[1]}
}

// refusedCommands are those of sops that are not there.
func refusedCommands() (out []*cobra.Command) {
	for name, why := range map[string][2]string{
		"publish":    {"sluice uploads no secret anywhere: what is sealed is in Git", "sops publish"},
		"keyservice": refusedFlags["keyservice"],
	} {
		out = append(out, &cobra.Command{Use: name, Hidden: true, Short: "Not there", DisableFlagParsing: true, RunE: func(*cobra.Command, []string) error {
			return &fault.Fault{Code: "SLU-USAGE-036", Hop: fault.HopUsage, Seen: "sluice secrets has no " + name, Why: why[0], Fix: why[1]}
		}})
	}
	return out
}

// kinds are what --decryption-order names.
var kinds = []string{"age", "pgp", "azure_kv", "kms", "gcp_kms", "hc_vault", "hckms"}

func (f *secretsFlags) decryptionOrder() ([]string, error) {
	order := f.order
	if v := f.streams.Env("SOPS_DECRYPTION_ORDER"); len(order) == 0 && v != "" {
		order = strings.Split(v, ",")
	}
	for i, kind := range order {
		order[i] = strings.TrimSpace(kind)
		if !slices.Contains(kinds, order[i]) {
			return nil, usage(f.command, fmt.Errorf("--decryption-order: %q is no kind of key: use %s", order[i], strings.Join(kinds, ", ")))
		}
	}
	return order, nil
}

// namesHuawei says of a document that only Huawei Cloud KMS opens what is the matter with it.
type namesHuawei struct{ sops.Keyring }

// DataKey implements sops.Keyring.
func (n namesHuawei) DataKey(ctx context.Context, doc *sops.Metadata) ([]byte, error) {
	for _, g := range doc.KeyGroups {
		if slices.ContainsFunc(g, func(k recipient.Key) bool { return k.Kind() != "hckms" }) {
			return n.Keyring.DataKey(ctx, doc)
		}
	}
	if doc.Recipients() == 0 {
		return n.Keyring.DataKey(ctx, doc)
	}
	return nil, huawei("only keys of Huawei Cloud KMS open the file", "sops rotate --add-age age1… adds a key that sluice can use")
}

type wrap func(ctx context.Context, recipient recipient.Key, dataKey []byte) ([]byte, bool, error)

func wrapsNoHuawei(w wrap) wrap {
	return func(ctx context.Context, k recipient.Key, dataKey []byte) ([]byte, bool, error) {
		if k.Kind() == "hckms" {
			return nil, false, huawei("a recipient is a key of Huawei Cloud KMS", "seal the file with sops, or take hckms out of its rule in .sops.yaml")
		}
		return w(ctx, k, dataKey)
	}
}

func huawei(seen, fix string) error {
	return &fault.Fault{Code: "SLU-KEYRING-040", Hop: fault.HopKeyring, Seen: seen, Why: "sluice neither asks nor encrypts for that service", Fix: fix}
}
