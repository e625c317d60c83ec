package lab

import (
	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	sopsage "github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/cmd/sops/common"
	"github.com/getsops/sops/v3/config"
	"github.com/getsops/sops/v3/keyservice"
	sopsyaml "github.com/getsops/sops/v3/stores/yaml"
)

// Seal encrypts a manifest's stringData for one age recipient, as `sops --encrypted-regex` does.
func Seal(manifest, recipient string) (string, error) {
	store := sopsyaml.NewStore(&config.YAMLStoreConfig{})
	branches, err := store.LoadPlainFile([]byte(manifest))
	if err != nil {
		return "", err
	}
	keys, err := sopsage.MasterKeysFromRecipients(recipient)
	if err != nil {
		return "", err
	}
	var group sops.KeyGroup
	for _, k := range keys {
		group = append(group, k)
	}
	tree := sops.Tree{Branches: branches, Metadata: sops.Metadata{KeyGroups: []sops.KeyGroup{group}, EncryptedRegex: "^(data|stringData)$", Version: "3.13.2"}}
	key, errs := tree.GenerateDataKeyWithKeyServices([]keyservice.KeyServiceClient{keyservice.NewLocalClient()})
	if len(errs) > 0 {
		return "", errs[0]
	}
	if err := common.EncryptTree(common.EncryptTreeOpts{DataKey: key, Tree: &tree, Cipher: aes.NewCipher()}); err != nil {
		return "", err
	}
	out, err := store.EmitEncryptedFile(tree)
	return string(out), err
}
