package cli

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/testkit/gitserver"
)

// hostAPI is the part of a host's API that a bootstrap meets, before a real Git server whose SSH side takes the deploy
// keys that are registered here.
type hostAPI struct {
	address string
	ca      []byte
	exists  bool // the repository
	tokens  int  // how many deploy tokens were made
	writes  bool // the registered key may push
}

func (h *hostAPI) serve(t *testing.T, mux *http.ServeMux) {
	t.Helper()
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	h.address, h.ca = strings.TrimPrefix(server.URL, "https://"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func gitea(t *testing.T, host *gitserver.Server, ssh *gitserver.SSH) *hostAPI {
	t.Helper()
	h := &hostAPI{}
	repo := map[string]any{"clone_url": host.URL, "ssh_url": ssh.URL}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/repos/team/fleet", func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "token "+gitserver.Password:
			answer(w, 401, map[string]any{"message": "user does not exist"})
		case !h.exists:
			answer(w, 404, map[string]any{"message": "not found"})
		default:
			answer(w, 200, repo)
		}
	})
	mux.HandleFunc("POST /api/v1/orgs/team/repos", func(w http.ResponseWriter, _ *http.Request) {
		h.exists = true
		answer(w, 201, repo)
	})
	mux.HandleFunc("GET /api/v1/repos/team/fleet/keys", func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, []any{}) })
	mux.HandleFunc("POST /api/v1/repos/team/fleet/keys", func(w http.ResponseWriter, r *http.Request) {
		var key struct {
			Key      string `json:"key"`
			ReadOnly bool   `json:"read_only"`
		}
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &key); err != nil {
			t.Errorf("the key is registered with %s", body)
		}
		h.writes = !key.ReadOnly
		if err := ssh.Allow([]byte(key.Key), h.writes); err != nil {
			t.Error(err)
		}
		answer(w, 201, map[string]any{"id": 1})
	})
	h.serve(t, mux)
	return h
}

// gitlab has the project, and makes deploy tokens for the Git server.
func gitlab(t *testing.T, host *gitserver.Server) *hostAPI {
	t.Helper()
	h := &hostAPI{exists: true}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v4/projects/{id}", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, map[string]any{"id": 3, "visibility": "private", "http_url_to_repo": host.URL, "ssh_url_to_repo": "git@gitlab.example:team/fleet.git"})
	})
	mux.HandleFunc("POST /api/v4/projects/{id}/deploy_tokens", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			User   string   `json:"username"`
			Scopes []string `json:"scopes"`
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || len(in.Scopes) != 1 || in.Scopes[0] != "read_repository" {
			t.Errorf("scopes %v, %v", in.Scopes, err)
		}
		h.tokens++
		host.Admit(in.User)
		answer(w, 201, map[string]any{"id": 1, "username": in.User, "token": gitserver.Password})
	})
	h.serve(t, mux)
	return h
}

// hosted is the command line for a host, and the streams with its token.
func (r *room) hosted(kind, variable string, api *hostAPI, host *gitserver.Server, more ...string) (run func(more ...string) (string, int)) {
	args := append([]string{"bootstrap", kind, "--hostname", api.address, "--ca-file", file(r.t, append(api.ca, host.CA...)), "--owner", "team", "--repository", "fleet",
		"--path", "./gitops/aks", "--kubeconfig", r.kubeconfig, "-n", r.namespace}, more...)
	return func(more ...string) (string, int) {
		var out, errs lockedBuffer
		streams := r.streams(&out, &errs)
		streams.Env = func(name string) string { return map[string]string{variable: gitserver.Password}[name] }
		code := Run(r.t.Context(), append(slices.Clone(args), more...), streams)
		if strings.Contains(out.String()+errs.String(), gitserver.Password) {
			r.t.Error("the token is told")
		}
		return out.String() + errs.String(), code
	}
}

func TestBootstrapGiteaMakesTheRepositoryAndRegistersADeployKey(t *testing.T) {
	r, host := newRoom(t), gitserver.New(t)
	ssh := host.SSH()
	r.controlled()
	api := gitea(t, host, ssh)
	run := r.hosted("gitea", "GITEA_TOKEN", api, host, "--known-hosts-file", file(t, ssh.KnownHosts))
	if out, code := run("--export"); code != 5 {
		t.Errorf("--export of a missing repository: exit %d: %s", code, out)
	}
	out, code := run()
	if code != 0 {
		t.Fatalf("exit %d: %s", code, out)
	}
	tells(t, out, "✔ repository team/fleet created", `✔ deploy key "flux-main-`+r.namespace+`-gitops/aks" registered`, "✔ bootstrap finished")
	if api.writes {
		t.Error("the key may push")
	}
	var g sourcev1.GitRepository
	if err := r.client.Get(t.Context(), client.ObjectKey{Namespace: r.namespace, Name: r.namespace}, &g); err != nil {
		t.Fatal(err)
	}
	if g.Spec.URL != ssh.URL {
		t.Errorf("the cluster follows %s", g.Spec.URL)
	}
	if out, code = run(); code != 0 {
		t.Fatalf("again: exit %d: %s", code, out)
	}
	tells(t, out, "deploy key is kept", "no commit")
}

func TestBootstrapGiteaTakesAKeyOfOnesOwnAndLetsItPushWhenToldTo(t *testing.T) {
	r, host := newRoom(t), gitserver.New(t)
	ssh := host.SSH()
	r.controlled()
	api := gitea(t, host, ssh)
	_, private := gitserver.Key(t)
	run := r.hosted("gitea", "GITEA_TOKEN", api, host, "--known-hosts-file", file(t, ssh.KnownHosts), "--private-key-file", file(t, private), "--read-write-key")
	if out, code := run(); code != 0 {
		t.Fatalf("exit %d: %s", code, out)
	}
	if !api.writes {
		t.Error("the key may not push")
	}
	if got := r.secret().Data["identity"]; string(got) != string(private) {
		t.Error("the cluster has another key")
	}
}

func TestBootstrapGiteaWithTokenAuthGivesTheClusterTheToken(t *testing.T) {
	r, host := newRoom(t), gitserver.New(t)
	r.controlled()
	api := gitea(t, host, host.SSH())
	if out, code := r.hosted("gitea", "GITEA_TOKEN", api, host)("--token-auth"); code != 0 {
		t.Fatalf("exit %d: %s", code, out)
	}
	if d := r.secret().Data; string(d["username"]) != "git" || string(d["password"]) != gitserver.Password || len(d["identity"]) > 0 {
		t.Errorf("the Secret has %d entries, user %s", len(d), d["username"])
	}
}

func TestBootstrapGitLabMakesOneDeployTokenForTheCluster(t *testing.T) {
	r, host := newRoom(t), gitserver.New(t)
	r.controlled()
	api := gitlab(t, host)
	run := r.hosted("gitlab", "GITLAB_TOKEN", api, host, "--deploy-token-auth")
	out, code := run()
	if code != 0 {
		t.Fatalf("exit %d: %s", code, out)
	}
	tells(t, out, "✔ deploy token", "✔ bootstrap finished")
	if user := string(r.secret().Data["username"]); user != "flux-main-"+r.namespace+"-gitops-aks" {
		t.Errorf("the cluster is %s", user)
	}
	if out, code = run(); code != 0 || api.tokens != 1 {
		t.Fatalf("again: exit %d, %d tokens: %s", code, api.tokens, out)
	}
	tells(t, out, "deploy token is kept", "no commit")
	if out, code = run("--token-auth"); code != 2 {
		t.Errorf("both kinds of tokens: exit %d: %s", code, out)
	}
}
