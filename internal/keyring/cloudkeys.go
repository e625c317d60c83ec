package keyring

import (
	"context"
	"encoding/base64"

	"github.com/sluice-gitops/sluice/internal/kms/aws"
	"github.com/sluice-gitops/sluice/internal/kms/transit"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

func (s *session) unwrapAWS(ctx context.Context, k *recipient.KMS) ([]byte, error) {
	if s.part.aws == nil {
		return nil, orNotOurs(s.id.AWSErr)
	}
	enc, err := base64.StdEncoding.DecodeString(k.EncryptedKey)
	if err != nil {
		return nil, undecryptable("AWS KMS key " + k.Arn)
	}
	return s.part.aws.Decrypt(ctx, awsKey(k), enc)
}

func (s *session) unwrapGoogle(ctx context.Context, k *recipient.GCPKMS) ([]byte, error) {
	if s.part.google == nil {
		return nil, orNotOurs(s.id.GoogleErr)
	}
	enc, err := base64.StdEncoding.DecodeString(k.EncryptedKey)
	if err != nil {
		return nil, undecryptable("Google Cloud KMS key " + k.ResourceID)
	}
	return s.part.google.Decrypt(ctx, k.ResourceID, enc)
}

func (s *session) unwrapTransit(ctx context.Context, k *recipient.HCVault) ([]byte, error) {
	if s.part.transit == nil {
		return nil, orNotOurs(s.id.VaultErr)
	}
	return s.part.transit.Decrypt(ctx, transitKey(k), k.EncryptedKey)
}

func orNotOurs(err error) error {
	if err == nil {
		return errNotOurs
	}
	return err
}

func awsKey(k *recipient.KMS) aws.Key {
	key := aws.Key{ARN: k.Arn, Role: k.Role, Profile: k.AwsProfile}
	for name, value := range k.EncryptionContext {
		if value != nil {
			if key.Context == nil {
				key.Context = map[string]string{}
			}
			key.Context[name] = *value
		}
	}
	return key
}

func transitKey(k *recipient.HCVault) transit.Key {
	return transit.Key{Address: k.VaultAddress, Engine: k.EnginePath, Name: k.KeyName}
}
