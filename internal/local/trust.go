package local

import (
	"bytes"
	"fmt"
	"os"

	"github.com/sluice-gitops/sluice/internal/local/state"
)

// systemRoots are where operating systems keep their certificate bundle; SSL_CERT_FILE goes first.
var systemRoots = []string{
	"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
}

// writeCABundle writes the roots that the platform's processes and the user's shell trust: the system's and the
// emulator's. An unchanged bundle is left alone.
func writeCABundle(d state.Dir, emulatorCA string, env func(string) string) error {
	own, err := os.ReadFile(emulatorCA)
	if err != nil {
		return fmt.Errorf("the emulator's CA: %w", err)
	}
	var bundle []byte
	for _, path := range append([]string{env("SSL_CERT_FILE")}, systemRoots...) {
		if path == "" || path == d.CABundle() {
			continue
		}
		if raw, err := os.ReadFile(path); err == nil && len(raw) > 0 {
			bundle = append(bytes.TrimRight(raw, "\n"), '\n')
			break
		}
	}
	bundle = append(bundle, own...)
	if was, err := os.ReadFile(d.CABundle()); err == nil && bytes.Equal(was, bundle) {
		return nil
	}
	return state.WriteFile(d.CABundle(), bundle, 0o644)
}
