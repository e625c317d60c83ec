package keyring

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/ProtonMail/go-crypto/openpgp"
	pgparmor "github.com/ProtonMail/go-crypto/openpgp/armor"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/internal/azure/identity"
	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/kms/aws"
	"github.com/sluice-gitops/sluice/internal/kms/gcp"
)

// Entries of a decryption Secret, as Flux names them.
const (
	entryAge     = ".agekey"
	entryPGP     = ".asc"
	entryAzureKV = "sops.azure-kv"
	entryAWS     = "sops.aws-kms"
	entryGoogle  = "sops.gcp-kms"
	entryVault   = "sops.vault-token"

	// entryVaultAddress, which Flux does not have, binds the token to servers.
	entryVaultAddress = "sops.vault-address"
)

// FromSecret reads the decryption Secret of a Kustomization: *.agekey (age identities, one a line, # comments, or one
// SSH private key), *.asc (armored PGP private keys), sops.azure-kv (a service principal, JSON or YAML), sops.aws-kms (an
// access key, YAML), sops.gcp-kms (a service account's key, JSON) and sops.vault-token, with sops.vault-address for the
// servers that the token may be sent to. name becomes the identity's. Entries of other names are left alone, as Flux
// does, as long as there is one to use.
//
// Its errors are faults of hop "keyring" that name the Secret's entry, never what it holds.
func FromSecret(name string, data map[string][]byte) (Identity, error) {
	return fromSecret(name, data, azcore.ClientOptions{})
}

func fromSecret(name string, data map[string][]byte, client azcore.ClientOptions) (Identity, error) {
	id := Identity{Name: name, fingerprint: fingerprint(data)}
	used := 0
	for _, entry := range slices.Sorted(maps.Keys(data)) {
		var err error
		switch {
		case strings.HasSuffix(entry, entryAge):
			err = id.addAge(data[entry])
		case strings.HasSuffix(entry, entryPGP):
			err = id.addPGP(data[entry])
		case entry == entryAzureKV:
			err = id.addAzure(data[entry], client)
		case entry == entryAWS:
			err = id.addAWS(data[entry])
		case entry == entryGoogle:
			id.Google, err = gcp.FromServiceAccountKey(bytes.TrimSpace(data[entry]), gcp.Endpoints{})
		case entry == entryVault:
			id.Vault, err = secretVault(data[entry], data[entryVaultAddress])
		default:
			continue
		}
		if err != nil {
			return Identity{}, entryFault("011", name, entry, err.Error(), "write the entry anew from the key file it should hold")
		}
		used++
	}
	if used == 0 {
		return Identity{}, entryFault("010", name, strings.Join(slices.Sorted(maps.Keys(data)), ", "),
			"none of the entries is one that decryption can use: *.agekey, *.asc, sops.azure-kv, sops.aws-kms, sops.gcp-kms or sops.vault-token",
			"kubectl create secret generic sops-age -n flux-system --from-file=age.agekey=<key file>")
	}
	return id, nil
}

func entryFault(number, identity, entry, why, fix string) *fault.Fault {
	seen := "the decryption Secret's entry " + entry + " cannot be used"
	if entry == "" {
		seen = "the decryption Secret is empty"
	}
	return &fault.Fault{Code: "SLU-KEYRING-" + number, Hop: fault.HopKeyring, Object: "identity " + identity, Seen: seen, Why: why, Fix: fix}
}

// fingerprint tells whether a Secret changed. It stays in memory.
func fingerprint(data map[string][]byte) [32]byte {
	h := sha256.New()
	for _, entry := range slices.Sorted(maps.Keys(data)) {
		for _, part := range [][]byte{[]byte(entry), data[entry]} {
			_ = binary.Write(h, binary.BigEndian, uint64(len(part)))
			h.Write(part)
		}
	}
	return [32]byte(h.Sum(nil))
}

var lineNumber = regexp.MustCompile(`\bline (\d+)`)

// addAge reads age identities. The parser's errors quote lines, so only their number is kept.
func (id *Identity) addAge(raw []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte("-----BEGIN")) {
		key, err := agessh.ParseIdentity(raw)
		if err != nil {
			return errors.New("it is not an SSH private key without passphrase")
		}
		id.Age = append(id.Age, key)
		return nil
	}
	list, err := age.ParseIdentities(bytes.NewReader(raw))
	if err != nil {
		if m := lineNumber.FindStringSubmatch(err.Error()); m != nil {
			return fmt.Errorf("line %s is not an age identity (AGE-SECRET-KEY-1…)", m[1])
		}
		return errors.New("it holds no age identity (AGE-SECRET-KEY-1…)")
	}
	id.Age = append(id.Age, list...)
	return nil
}

// addPGP reads every armored block of the entry.
func (id *Identity) addPGP(raw []byte) error {
	found := false
	for rest := raw; ; {
		start := bytes.Index(rest, []byte("-----BEGIN PGP"))
		if start < 0 {
			break
		}
		rest = rest[start:]
		end := bytes.Index(rest[1:], []byte("-----BEGIN PGP"))
		if end < 0 {
			end = len(rest) - 1
		}
		block, err := pgparmor.Decode(bytes.NewReader(rest[:end+1]))
		if err != nil {
			return errors.New("its armor is damaged")
		}
		list, err := openpgp.ReadKeyRing(block.Body)
		if err != nil {
			return errors.New("it is not an OpenPGP key")
		}
		for _, e := range list {
			if e.PrivateKey == nil {
				continue // a public key beside the private ones
			}
			if e.PrivateKey.Encrypted {
				return fmt.Errorf("the PGP key %s is protected by a passphrase, and nobody is there to type it", hexUpper(e.PrimaryKey.Fingerprint))
			}
			id.PGP = append(id.PGP, e)
			found = true
		}
		rest = rest[end+1:]
	}
	if !found {
		return errors.New("it holds no armored PGP private key")
	}
	return nil
}

// addAWS reads an access key.
func (id *Identity) addAWS(raw []byte) error {
	var c struct {
		ID      string `json:"aws_access_key_id"`
		Secret  string `json:"aws_secret_access_key"`
		Session string `json:"aws_session_token"`
	}
	if yaml.Unmarshal(raw, &c) != nil {
		return errors.New("it is neither JSON nor YAML")
	}
	if c.ID == "" || c.Secret == "" {
		return errors.New("aws_access_key_id and aws_secret_access_key must both be set")
	}
	id.AWS = aws.Static(c.ID, c.Secret, c.Session)
	return nil
}

// addAzure reads a service principal in Flux's naming or as `az ad sp create-for-rbac` prints it.
func (id *Identity) addAzure(raw []byte, client azcore.ClientOptions) error {
	var c struct {
		TenantID     string `json:"tenantId"`
		ClientID     string `json:"clientId"`
		ClientSecret string `json:"clientSecret"`
		azureCertificate
		AuthorityHost string `json:"authorityHost"`
		Tenant        string `json:"tenant"`
		AppID         string `json:"appId"`
		Password      string `json:"password"`
	}
	if yaml.Unmarshal(raw, &c) != nil {
		return errors.New("it is neither JSON nor YAML")
	}
	first := func(a, b string) string {
		if a != "" {
			return a
		}
		return b
	}
	var err error
	tenant, app, secret := first(c.TenantID, c.Tenant), first(c.ClientID, c.AppID), first(c.ClientSecret, c.Password)
	switch {
	case c.ClientCertificate != "":
		id.Azure, err = c.credential(tenant, app, c.AuthorityHost, client)
		return err
	case tenant == "" || app == "" || secret == "":
		return errors.New("tenantId, clientId and clientSecret must all be set")
	}
	cred, err := identity.NewServicePrincipal(tenant, app, secret, c.AuthorityHost, client)
	if err != nil {
		return errors.New("tenantId or authorityHost is malformed")
	}
	id.Azure = cred
	return nil
}
