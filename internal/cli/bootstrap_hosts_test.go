package cli

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/testkit/gitserver"
)

// gitea is the part of Gitea's API that a bootstrap meets, before a real Git server whose SSH side takes the deploy keys
// that are registered here.
func gitea(t *testing.T, host *gitserver.Server, ssh *gitserver.SSH) (address string, ca []byte) {
	t.Helper()
	exists := false
	repo := map[string]any{"clone_url": host.URL, "ssh_url": ssh.URL}
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("GET /api/v1/repos/team/fleet", func(w http.ResponseWriter, _ *http.Request) {
		if !exists {
			answer(w, 404, map[string]any{"message": "not found"})
			return
		}
		answer(w, 200, repo)
	})
	mux.HandleFunc("POST /api/v1/orgs/team/repos", func(w http.ResponseWriter, _ *http.Request) {
		exists = true
		answer(w, 201, repo)
	})
	mux.HandleFunc("GET /api/v1/repos/team/fleet/keys", func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, []any{}) })
	mux.HandleFunc("POST /api/v1/repos/team/fleet/keys", func(w http.ResponseWriter, r *http.Request) {
		var key struct {
			Key      string `json:"key"`
			ReadOnly bool   `json:"read_only"`
		}
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &key); err != nil || !key.ReadOnly {
			t.Errorf("the key is registered with %s", body)
		}
		if err := ssh.Allow([]byte(key.Key), false); err != nil {
			t.Error(err)
		}
		answer(w, 201, map[string]any{"id": 1})
	})
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "https://"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}

func TestBootstrapGiteaMakesTheRepositoryAndRegistersADeployKey(t *testing.T) {
	r, host := newRoom(t), gitserver.New(t)
	ssh := host.SSH()
	address, ca := gitea(t, host, ssh)
	r.controlled()
	var out, errs lockedBuffer
	streams := r.streams(&out, &errs)
	streams.Env = func(name string) string { return map[string]string{"GITEA_TOKEN": gitserver.Password}[name] }
	args := []string{"bootstrap", "gitea", "--hostname", address, "--ca-file", file(t, append(ca, host.CA...)), "--owner", "team", "--repository", "fleet",
		"--path", "./gitops/aks", "--known-hosts-file", file(t, ssh.KnownHosts), "--kubeconfig", r.kubeconfig, "-n", r.namespace}
	if code := Run(t.Context(), append(args, "--export"), streams); code != 5 {
		t.Errorf("--export of a missing repository: exit %d", code)
	}
	if code := Run(t.Context(), args, streams); code != 0 {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	tells(t, errs.String(), "✔ repository team/fleet created", `✔ deploy key "flux-main-`+r.namespace+`-gitops/aks" registered`, "✔ bootstrap finished")
	var g sourcev1.GitRepository
	if err := r.client.Get(t.Context(), client.ObjectKey{Namespace: r.namespace, Name: r.namespace}, &g); err != nil {
		t.Fatal(err)
	}
	if g.Spec.URL != ssh.URL {
		t.Errorf("the cluster follows %s", g.Spec.URL)
	}
	if code := Run(t.Context(), args, streams); code != 0 {
		t.Fatalf("again: exit %d: %s", code, errs.String())
	}
	tells(t, errs.String(), "deploy key is kept", "no commit")
	if strings.Contains(errs.String(), gitserver.Password) {
		t.Error("the token is told")
	}
}
