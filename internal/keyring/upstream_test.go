package keyring

import (
	"testing"

	upage "github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/azkv"
	"github.com/getsops/sops/v3/gcpkms"
	"github.com/getsops/sops/v3/hcvault"
	"github.com/getsops/sops/v3/keys"
	upkms "github.com/getsops/sops/v3/kms"
	"github.com/getsops/sops/v3/pgp"

	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// The sops library, whose clients judge ours and the services of these tests.

// toUpstream gives a recipient as the library has it.
func toUpstream(t testing.TB, k recipient.Key) keys.MasterKey {
	t.Helper()
	var out keys.MasterKey
	switch k := k.(type) {
	case *recipient.Age:
		out = &upage.MasterKey{Recipient: k.Recipient}
	case *recipient.PGP:
		out = pgp.NewMasterKeyFromFingerprint(k.Fingerprint)
	case *recipient.AzureKV:
		out = azkv.NewMasterKey(k.VaultURL, k.Name, k.Version)
	case *recipient.KMS:
		out = upkms.NewMasterKeyWithProfile(k.Arn, k.Role, k.EncryptionContext, k.AwsProfile)
	case *recipient.GCPKMS:
		out = gcpkms.NewMasterKeyFromResourceID(k.ResourceID)
	case *recipient.HCVault:
		out = hcvault.NewMasterKey(k.VaultAddress, k.EnginePath, k.KeyName)
	default:
		t.Fatalf("no upstream recipient for %T", k)
	}
	out.SetEncryptedDataKey(k.Wrapped())
	return out
}

// upstreamOpens has the library unwrap what a recipient holds.
func upstreamOpens(t testing.TB, k recipient.Key) ([]byte, error) {
	t.Helper()
	return toUpstream(t, k).Decrypt()
}

// upstreamWraps has the library wrap a data key for a recipient.
func upstreamWraps(t testing.TB, k recipient.Key, dataKey []byte) {
	t.Helper()
	u := toUpstream(t, k)
	if err := u.Encrypt(dataKey); err != nil {
		t.Fatal(err)
	}
	k.SetWrapped(u.EncryptedDataKey())
}
