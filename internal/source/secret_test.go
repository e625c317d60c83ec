package source

import "testing"

func TestASecretsPasswordOpensTheKeyOrIsTheAccounts(t *testing.T) {
	https := AuthOf(map[string][]byte{"username": []byte("ada"), "password": []byte("p"), "caFile": []byte("old"), "ca.crt": []byte("new")})
	if https.Username != "ada" || https.Password != "p" || https.IdentityPassphrase != nil || string(https.CAFile) != "new" {
		t.Errorf("https: %d bytes of passphrase, CA %q, user %q", len(https.IdentityPassphrase), https.CAFile, https.Username)
	}
	ssh := AuthOf(map[string][]byte{"identity": []byte("k"), "password": []byte("p"), "known_hosts": []byte("h")})
	if ssh.Password != "" || string(ssh.IdentityPassphrase) != "p" || string(ssh.KnownHosts) != "h" {
		t.Error("ssh: the password is the account's")
	}
	if mtls := AuthOf(map[string][]byte{"certFile": []byte("c"), "keyFile": []byte("k"), "bearerToken": []byte("t")}); string(mtls.ClientCert) != "c" || string(mtls.ClientKey) != "k" || mtls.BearerToken != "t" {
		t.Error("the older names of certificate and key are not read")
	}
}
