package local

import (
	"bytes"
	"context"
	"crypto/rsa"
	"io/fs"
	"time"

	"github.com/sluice-gitops/sluice/examples/aks"
	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
	"github.com/sluice-gitops/sluice/internal/keyring"
	"github.com/sluice-gitops/sluice/internal/local/gitrepo"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// branch is the one that the platform's repository has.
const branch = gitrepo.Branch

// encryptedRegex is what of a manifest is sealed: the rule of the article and of most repositories.
const encryptedRegex = "^(data|stringData)$"

// sampleFiles gives the sample repository for this platform as its user would commit it before the bootstrap: with the
// secret sealed in memory, so that its clear text is never in a file or a Git object.
func sampleFiles(ctx context.Context, s sealing) (map[string][]byte, error) {
	files := map[string][]byte{}
	err := fs.WalkDir(aks.Files(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[path], err = fs.ReadFile(aks.Files(), path)
		return err
	})
	if err != nil {
		return nil, err
	}
	files[aks.SecretPath], err = s.seal(ctx, aks.SecretPath, withoutHeader(files[aks.SecretPath]))
	return files, err
}

// seal encrypts a document for the platform's key, with its public half alone.
func (s sealing) seal(ctx context.Context, path string, data []byte) ([]byte, error) {
	wrapper := keyring.Wrapper{Azure: map[keyvault.KeyID]*rsa.PublicKey{s.key: s.publicKey}}
	return sops.Seal(ctx, data, sops.FormatFor(path), sops.SealOptions{
		EncryptedRegex: encryptedRegex, Path: path, Wrap: wrapper.Wrap,
		Recipients: []recipient.Group{{keyring.AzureRecipient(s.key, time.Now())}},
	})
}

// withoutHeader drops the comment lines at the top of a file: the sample's tell how to seal it.
func withoutHeader(data []byte) []byte {
	for bytes.HasPrefix(data, []byte("#")) {
		_, rest, ok := bytes.Cut(data, []byte("\n"))
		if !ok {
			return nil
		}
		data = rest
	}
	return data
}
