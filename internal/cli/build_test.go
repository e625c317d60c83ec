package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

const sealedValue = "a-value-that-nobody-may-see"

// buildRepository is a working copy with a root Kustomization, an app with bases beside it, and sealed files of three
// kinds.
func buildRepository(t *testing.T) string {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	seal := func(document string, f sops.Format, regex string) string {
		key, err := recipient.ParseAge(id.Recipient().String())
		if err != nil {
			t.Fatal(err)
		}
		out, err := sops.Seal(t.Context(), []byte(document), f, sops.SealOptions{EncryptedRegex: regex, Recipients: []recipient.Group{{key}}})
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	dir := t.TempDir()
	for name, content := range map[string]string{
		".git/HEAD": "ref: refs/heads/main\n",
		"root/apps.yaml": `apiVersion: kustomize.toolkit.fluxcd.io/v1beta2
kind: Kustomization
metadata: {name: apps, namespace: flux-system}
spec:
  interval: 5m
  prune: true
  path: ./apps
  sourceRef: {kind: GitRepository, name: flux-system}
  decryption: {provider: sops}
  postBuild: {substitute: {who: world}}
`,
		"root/other.yaml": `apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: other, namespace: flux-system}
spec:
  interval: 5m
  prune: true
  path: ./
  sourceRef: {kind: GitRepository, name: elsewhere}
`,
		"apps/kustomization.yaml": `resources: [../base/service.yaml, secret.yaml]
secretGenerator:
- {name: env, envs: [db.env], options: {disableNameSuffixHash: true}}
`,
		"apps/secret.yaml":  seal("apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\nstringData:\n  password: "+sealedValue+"\n", sops.YAML, "^(data|stringData)$"),
		"apps/db.env":       seal("PASSWORD="+sealedValue+"\n", sops.Dotenv, ""),
		"base/service.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: greeting\n  namespace: default\ndata:\n  hello: ${who}\n",
		"sync.yaml": `apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: flux-system, namespace: flux-system}
spec:
  interval: 5m
  prune: true
  path: ./elsewhere-in-the-cluster
  sourceRef: {kind: GitRepository, name: flux-system}
`,
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func build(t *testing.T, args ...string) (out, errs string, code int) {
	t.Helper()
	var o, e bytes.Buffer
	code = Run(t.Context(), append([]string{"build", "kustomization"}, args...), Streams{Out: &o, Err: &e, Env: func(string) string { return "" }})
	return o.String(), e.String(), code
}

func TestBuildRendersOfflineWithSealedValuesMasked(t *testing.T) {
	dir := buildRepository(t)
	out, errs, code := build(t, "apps", "--path", filepath.Join(dir, "apps"), "--kustomization-file", filepath.Join(dir, "root", "apps.yaml"), "--dry-run")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	testkit.Golden(t, filepath.Join("testdata", "build.golden.yaml"), []byte(out))
	for _, word := range []string{"ENC[", sealedValue, "sops:"} {
		if strings.Contains(out, word) {
			t.Errorf("the output holds %q", word)
		}
	}
}

func TestBuildRecursesIntoSourcesThatAreHere(t *testing.T) {
	dir, other := buildRepository(t), t.TempDir()
	args := []string{"flux-system", "--path", filepath.Join(dir, "root"), "--kustomization-file", filepath.Join(dir, "sync.yaml"), "--dry-run", "--recursive"}
	_, errs, code := build(t, args...)
	if code == 0 || !strings.Contains(errs, "--local-sources GitRepository/flux-system/elsewhere=DIR") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if err := os.WriteFile(filepath.Join(other, "cm.yaml"), []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: from-elsewhere}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, errs, code := build(t, append(args, "--local-sources", "GitRepository/flux-system/elsewhere="+other)...)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	for _, name := range []string{"name: apps", "name: greeting", "hello: world", "name: from-elsewhere"} {
		if !strings.Contains(out, name) {
			t.Errorf("the output lacks %q", name)
		}
	}
}

func TestBuildRefusesWhatItCannotRender(t *testing.T) {
	dir := buildRepository(t)
	file := filepath.Join(dir, "root", "apps.yaml")
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"no path", []string{"apps", "--dry-run", "--kustomization-file", file}, "--path is missing"},
		{"no folder", []string{"apps", "--path", filepath.Join(dir, "nosuch"), "--dry-run", "--kustomization-file", file}, "names no folder"},
		{"no manifest", []string{"apps", "--path", dir, "--dry-run"}, "--kustomization-file"},
		{"another name", []string{"web", "--path", dir, "--dry-run", "--kustomization-file", file}, "not web"},
		{"another kind", []string{"x", "--path", dir, "--dry-run", "--kustomization-file", filepath.Join(dir, "base", "service.yaml")}, "ConfigMap"},
		{"no identity", []string{"apps", "--path", filepath.Join(dir, "apps"), "--dry-run", "--kustomization-file", file, "--decrypt"}, "keyring"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, errs, code := build(t, tt.args...)
			if code == 0 || !strings.Contains(errs, tt.want) || !strings.Contains(errs, "fix") || out != "" {
				t.Errorf("exit %d, stdout %q, stderr %q", code, out, errs)
			}
		})
	}
}
