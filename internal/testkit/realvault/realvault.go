// Package realvault starts a HashiCorp Vault for the tests behind the build tag judges: the program of the module in
// server/, which is built by the go command at first need (minutes the first time, a second after) and is no part of
// the product.
//
// It refuses to be shared: each test has a server of its own, with an empty storage in memory, on a loopback port of the
// system's choice. The server ends with the test, and with the test's process if that is killed.
package realvault

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// Server is an unsealed Vault with the transit engine at transit/ and a key "sops" in it.
type Server struct {
	Address   string // http://127.0.0.1:41234
	Root      string // a token that may do everything
	UnsealKey string // hexadecimal

	stop func() error
}

// environ is the environment as it was before any test changed it: in another home the go command would find no cache,
// and build Vault anew.
var environ = os.Environ()

// program is the built server, which the go command keeps in its cache.
var program = sync.OnceValues(func() (string, error) {
	_, here, _, _ := runtime.Caller(0)
	cmd := exec.Command("go", "tool", "-n", "server")
	cmd.Dir = filepath.Join(filepath.Dir(here), "server")
	cmd.Env = environ
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("build Vault: %w\n%s", err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
})

// Start runs a server until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path)
	cmd.Env = []string{} // Vault reads a dozen variables of its own
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &Server{stop: sync.OnceValue(func() error {
		_ = stdin.Close()
		_, _ = io.Copy(io.Discard, stdout)
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("%w\n%s", err, stderr.String())
		}
		return nil
	})}
	t.Cleanup(func() { s.Stop(t) })
	var said struct{ Address, Token, UnsealKey string }
	if err := json.NewDecoder(stdout).Decode(&said); err != nil {
		t.Fatalf("Vault did not start: %v %v", err, s.stop())
	}
	s.Address, s.Root, s.UnsealKey = said.Address, said.Token, said.UnsealKey
	s.Write(t, "sys/mounts/transit", map[string]any{"type": "transit"})
	s.Write(t, "transit/keys/sops", nil)
	return s
}

// Stop ends the server early: its port answers nobody afterwards.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if err := s.stop(); err != nil {
		t.Errorf("Vault ended with %v", err)
	}
}

// KeyURI is a transit key as sops's command line names it.
func (s *Server) KeyURI(name string) string { return s.Address + "/v1/transit/keys/" + name }

// Write posts to a path of Vault's API as root, and fails the test unless it is taken.
func (s *Server) Write(t testing.TB, path string, body map[string]any) (answer map[string]any) {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.Address+"/v1/"+path, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", s.Root)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode >= 300 {
		t.Fatalf("vault write %s: %s %v\n%s", path, res.Status, err, text)
	}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &answer); err != nil {
			t.Fatal(err)
		}
	}
	return answer
}

// Policy writes an access policy that permits updates of these paths alone: transit/decrypt/sops.
func (s *Server) Policy(t testing.TB, name string, paths ...string) {
	t.Helper()
	text := ""
	for _, path := range paths {
		text += fmt.Sprintf("path %q { capabilities = [\"update\"] }\n", path)
	}
	s.Write(t, "sys/policies/acl/"+name, map[string]any{"policy": text})
}

// Token gives a token with one policy, named, that permits updates of these paths alone.
func (s *Server) Token(t testing.TB, policy string, paths ...string) string {
	t.Helper()
	s.Policy(t, policy, paths...)
	answer := s.Write(t, "auth/token/create", map[string]any{"policies": []string{policy}, "no_default_policy": true})
	auth, _ := answer["auth"].(map[string]any)
	token, _ := auth["client_token"].(string)
	if token == "" {
		t.Fatalf("no token in %v", answer)
	}
	return token
}
