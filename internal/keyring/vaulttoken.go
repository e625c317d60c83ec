package keyring

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/kms"
	"github.com/sluice-gitops/sluice/internal/kms/transit"
)

// envVaultAllow is sops's list of addresses that a Vault token may be sent to.
const envVaultAllow = "SOPS_HC_VAULT_ALLOWLIST"

// VaultToken is a token of HashiCorp Vault or OpenBao with the rules of where it may be sent: the address comes out of a
// document.
type VaultToken struct {
	token     func(context.Context) (string, error)
	allow     []transit.Allowlist
	needList  bool // only where a list allows it
	plainHTTP bool
	env       func(string) string // of the server's namespace and certificates
	signIn    *transit.SignIn     // instead of token
}

// client returns what speaks with the token. base may be nil.
func (v *VaultToken) client(base http.RoundTripper) *transit.Client {
	o := transit.Options{Namespace: v.env("VAULT_NAMESPACE"), Allow: v.allow, NeedList: v.needList, PlainHTTP: v.plainHTTP, SignIn: v.signIn}
	if base == nil {
		t := kms.NewTransport()
		tlsConfig, err := vaultTLS(v.env)
		if err != nil {
			return transit.New(func(context.Context) (string, error) { return "", err }, o)
		}
		t.TLSClientConfig = tlsConfig
		base = t
	}
	o.HTTP = kms.NewHTTP(base)
	return transit.New(v.token, o)
}

// vaultTLS reads the variables of Vault's own command that say whom to trust.
func vaultTLS(env func(string) string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: env("VAULT_TLS_SERVER_NAME")}
	if path := env("VAULT_CACERT"); path != "" {
		pem, err := os.ReadFile(filepath.Clean(path))
		if err != nil {
			return nil, vaultEnvFault("VAULT_CACERT", "the file that it names cannot be read")
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, vaultEnvFault("VAULT_CACERT", "the file that it names holds no certificate")
		}
	}
	if cert, key := env("VAULT_CLIENT_CERT"), env("VAULT_CLIENT_KEY"); cert != "" && key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, vaultEnvFault("VAULT_CLIENT_CERT", "it and VAULT_CLIENT_KEY are no certificate and its key")
		}
		c.Certificates = []tls.Certificate{pair}
	}
	c.InsecureSkipVerify, _ = strconv.ParseBool(env("VAULT_SKIP_VERIFY"))
	return c, nil
}

func vaultEnvFault(variable, why string) *fault.Fault {
	return &fault.Fault{Code: "SLU-KEYRING-013", Hop: fault.HopKeyring, Object: "variable " + variable,
		Seen: variable + " cannot be used", Why: why, Fix: "correct or remove " + variable}
}

// environmentVault is the controller's own token. It is sent to the addresses of envVaultAllow alone: whoever may write a
// document would otherwise choose who receives it.
func environmentVault() (*VaultToken, error) {
	token := os.Getenv("VAULT_TOKEN")
	if token == "" {
		return nil, &fault.Fault{
			Code: "SLU-IDENTITY-050", Hop: fault.HopIdentity, Seen: "there is no Vault token",
			Why: "the Secret that spec.decryption.secretRef names has no entry sops.vault-token",
			Fix: "kubectl create secret generic sops-vault -n flux-system --from-file=sops.vault-token=<token file> --from-literal=sops.vault-address=<address>",
		}
	}
	allow, err := environmentAllowlist(os.Getenv)
	if err != nil {
		return nil, err
	}
	return &VaultToken{token: transit.Static(token), allow: allow, needList: true, env: os.Getenv}, nil
}

func environmentAllowlist(env func(string) string) ([]transit.Allowlist, error) {
	text := env(envVaultAllow)
	if text == "" {
		return nil, nil
	}
	list, err := transit.ParseAllowlist(envVaultAllow, text)
	if err != nil {
		return nil, vaultEnvFault(envVaultAllow, err.Error())
	}
	return []transit.Allowlist{list}, nil
}

// secretVault is the token of a Secret. addresses, the Secret's own list, may be nil.
func secretVault(raw, addresses []byte) (*VaultToken, error) {
	token := strings.TrimSpace(string(raw))
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("it is not a token")
	}
	allow, err := environmentAllowlist(os.Getenv)
	if err != nil {
		return nil, err
	}
	if addresses != nil {
		list, err := transit.ParseAllowlist(entryVaultAddress, string(addresses))
		if err != nil {
			return nil, err
		}
		allow = append(allow, list)
	}
	return &VaultToken{token: transit.Static(token), allow: allow, env: os.Getenv}, nil
}

// vault is a person's token, found as Vault's command finds it: VAULT_TOKEN, else ~/.vault-token.
func (s *station) vault() (*VaultToken, error) {
	allow, err := environmentAllowlist(s.opts.Env)
	if err != nil {
		return nil, err
	}
	token := func(context.Context) (string, error) {
		if v := s.opts.Env("VAULT_TOKEN"); v != "" {
			return v, nil
		}
		raw, err := os.ReadFile(filepath.Join(s.opts.Home, ".vault-token"))
		if v := strings.TrimSpace(string(raw)); err == nil && v != "" {
			return v, nil
		}
		return "", &fault.Fault{
			Code: "SLU-IDENTITY-051", Hop: fault.HopIdentity, Seen: "there is no Vault token",
			Why: "neither VAULT_TOKEN nor ~/.vault-token holds one", Fix: "vault login",
		}
	}
	return &VaultToken{token: token, allow: allow, plainHTTP: true, env: s.opts.Env}, nil
}
