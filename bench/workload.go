package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"filippo.io/age"

	"github.com/sluice-gitops/sluice/bench/lab"
)

// workload is one Git repository of apps: a folder, a Namespace and a Kustomization each, with a fixed number of
// objects, one of them an age-encrypted Secret.
type workload struct {
	apps, objects int
	dir           string // working copy
	bare          string // what is served, as apps.git
	identity      string // age secret key
}

// appName is the name of app i: of its folder, its Namespace and its Kustomization.
func appName(i int) string { return fmt.Sprintf("app-%04d", i) }

func newWorkload(ctx context.Context, root string, apps, objects int) (*workload, error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, err
	}
	w := &workload{apps: apps, objects: objects, dir: filepath.Join(root, "work"), bare: filepath.Join(root, "git", "apps.git"), identity: id.String()}
	for i := range apps {
		if err := w.writeApp(i, id.Recipient().String()); err != nil {
			return nil, err
		}
	}
	for _, args := range [][]string{
		{"init", "-q", "--bare", "-b", "main", w.bare},
		{"-C", w.dir, "init", "-q", "-b", "main"},
		{"-C", w.dir, "config", "user.name", "bench"},
		{"-C", w.dir, "config", "user.email", "bench@localhost"},
		{"-C", w.dir, "config", "gc.auto", "0"},
		{"-C", w.dir, "remote", "add", "origin", w.bare},
	} {
		if err := git(ctx, args...); err != nil {
			return nil, err
		}
	}
	_, err = w.commit(ctx, "first")
	return w, err
}

// commit commits and pushes everything, and returns the new revision as Flux writes it.
func (w *workload) commit(ctx context.Context, subject string) (string, error) {
	for _, args := range [][]string{{"add", "-A"}, {"commit", "-q", "-m", subject}, {"push", "-q", "origin", "main"}} {
		if err := git(ctx, append([]string{"-C", w.dir}, args...)...); err != nil {
			return "", err
		}
	}
	return w.head(ctx)
}

// head is the present revision as Flux writes it.
func (w *workload) head(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "git", "-C", w.dir, "rev-parse", "HEAD").Output()
	return "main@sha1:" + strings.TrimSpace(string(out)), err
}

// edit changes one ConfigMap of app i and pushes it.
func (w *workload) edit(ctx context.Context, i int, level string) (revision string, err error) {
	if err := os.WriteFile(filepath.Join(w.dir, "apps", appName(i), "r2.yaml"), []byte(configMap(i, 2, level)), 0o644); err != nil {
		return "", err
	}
	return w.commit(ctx, "edit "+appName(i))
}

func (w *workload) writeApp(i int, recipient string) error {
	dir := filepath.Join(w.dir, "apps", appName(i))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	secret, err := lab.Seal(fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata:\n  name: secret\n  namespace: %s\ntype: Opaque\nstringData:\n  password: value-of-%d\n", appName(i), i), recipient)
	if err != nil {
		return err
	}
	names := []string{"namespace.yaml", "secret.yaml"}
	texts := map[string]string{
		"namespace.yaml": fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: %s\n", appName(i)),
		"secret.yaml":    secret,
	}
	for j := range w.objects - 2 {
		name := fmt.Sprintf("r%d.yaml", j)
		names = append(names, name)
		texts[name] = appObject(i, j)
	}
	texts["kustomization.yaml"] = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n  - " + strings.Join(names, "\n  - ") + "\n"
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// appObject is the manifest of object j of app i.
func appObject(i, j int) string {
	return []func(int, int) string{
		deployment, service, func(i, j int) string { return configMap(i, j, "info") }, serviceAccount,
	}[j%4](i, j)
}

func deployment(i, j int) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata:
  name: web-%[2]d
  namespace: %[1]s
  labels:
    app: web-%[2]d
spec:
  replicas: 2
  selector:
    matchLabels:
      app: web-%[2]d
  template:
    metadata:
      labels:
        app: web-%[2]d
    spec:
      containers:
        - name: web
          image: registry.example/web:1.%[3]d.0
          ports:
            - containerPort: 8080
          env:
            - name: LEVEL
              value: info
          resources:
            requests: {cpu: 100m, memory: 64Mi}
            limits: {cpu: 1000m, memory: 128Mi}
`, appName(i), j, i)
}

func service(i, j int) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata:\n  name: web-%d\n  namespace: %s\nspec:\n  selector:\n    app: web-%d\n  ports:\n    - name: http\n      port: 80\n      targetPort: 8080\n      protocol: TCP\n", j, appName(i), j-1)
}

func configMap(i, j int, level string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: config-%d\n  namespace: %s\ndata:\n  level: %s\n  app.yaml: |\n    index: \"%d\"\n    features: [a, b, c]\n", j, appName(i), level, i)
}

func serviceAccount(i, j int) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: sa-%d\n  namespace: %s\n", j, appName(i))
}

func git(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "git", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}
