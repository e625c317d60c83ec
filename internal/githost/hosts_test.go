package githost

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/sluice-gitops/sluice/internal/fault"
)

const (
	token = "canary-token-4711"
	key   = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJmine sluice"
	other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIother someone"
)

// recorded answers requests, by "METHOD path", with bodies in the shape that the host's API documents.
type recorded struct {
	t       *testing.T
	answers map[string]string // a body, or "STATUS" alone
	asked   []string          // "METHOD path body"
	signed  func(*http.Request) bool
}

func (r *recorded) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	call := req.Method + " " + req.URL.EscapedPath()
	body, _ := io.ReadAll(req.Body)
	var sorted map[string]any
	if json.Unmarshal(body, &sorted) == nil {
		body, _ = json.Marshal(sorted)
	}
	r.asked = append(r.asked, strings.TrimSpace(call+" "+string(body)))
	if !r.signed(req) {
		http.Error(w, "who are you", http.StatusUnauthorized)
		return
	}
	answer, ok := r.answers[call]
	if !ok {
		r.t.Errorf("unexpected %s", call)
		answer = "500"
	}
	var status int
	if n, _ := fmt.Sscanf(answer, "%d", &status); n == 1 && len(answer) == 3 {
		http.Error(w, `{"message":"no, `+token+`"}`, status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if req.Method == http.MethodPost {
		w.WriteHeader(http.StatusCreated)
	}
	_, _ = io.WriteString(w, answer)
}

// shape is one host: how it is made, how its token travels, and what its API says in each case.
type shape struct {
	make   func(Options) (Host, error)
	signed func(*http.Request) bool
	owner  string
	found  map[string]string // the repository is there, with another's key
	absent map[string]string // it has to be made
	made   string            // the request that makes it
	keyed  string            // the request that registers the key
	https  string
	ssh    string
}

func header(name, value string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Header.Get(name) == value }
}

var shapes = map[string]shape{
	"github": {
		make: GitHub, signed: header("Authorization", "Bearer "+token), owner: "team",
		found: map[string]string{
			"GET /api/v3/repos/team/fleet":       `{"id":1296269,"name":"fleet","full_name":"team/fleet","private":true,"clone_url":"https://github.example/team/fleet.git","ssh_url":"git@github.example:team/fleet.git","default_branch":"main"}`,
			"GET /api/v3/repos/team/fleet/keys":  `[{"id":1,"key":"` + other + `","title":"x","verified":true,"read_only":true}]`,
			"POST /api/v3/repos/team/fleet/keys": `{"id":2,"key":"` + key + `","title":"flux-system","read_only":true}`,
		},
		absent: map[string]string{
			"GET /api/v3/repos/team/fleet": "404",
			"POST /api/v3/orgs/team/repos": `{"id":1296269,"name":"fleet","clone_url":"https://github.example/team/fleet.git","ssh_url":"git@github.example:team/fleet.git"}`,
		},
		made:  `POST /api/v3/orgs/team/repos {"name":"fleet","private":true}`,
		keyed: `POST /api/v3/repos/team/fleet/keys {"key":"` + key + `","read_only":true,"title":"flux-system"}`,
		https: "https://github.example/team/fleet.git", ssh: "ssh://git@github.example/team/fleet.git",
	},
	"gitlab": {
		make: GitLab, signed: header("PRIVATE-TOKEN", token), owner: "group/team",
		found: map[string]string{
			"GET /api/v4/projects/group%2Fteam%2Ffleet":              `{"id":3,"path_with_namespace":"group/team/fleet","ssh_url_to_repo":"git@gitlab.example:group/team/fleet.git","http_url_to_repo":"https://gitlab.example/group/team/fleet.git"}`,
			"GET /api/v4/projects/group%2Fteam%2Ffleet/deploy_keys":  `[{"id":1,"title":"x","key":"` + other + `","can_push":false}]`,
			"POST /api/v4/projects/group%2Fteam%2Ffleet/deploy_keys": `{"id":2,"title":"flux-system","key":"` + key + `","can_push":false}`,
		},
		absent: map[string]string{
			"GET /api/v4/projects/group%2Fteam%2Ffleet": "404",
			"GET /api/v4/namespaces/group%2Fteam":       `{"id":7,"kind":"group","full_path":"group/team"}`,
			"POST /api/v4/projects":                     `{"id":3,"ssh_url_to_repo":"git@gitlab.example:group/team/fleet.git","http_url_to_repo":"https://gitlab.example/group/team/fleet.git"}`,
		},
		made:  `POST /api/v4/projects {"initialize_with_readme":false,"name":"fleet","namespace_id":7,"path":"fleet","visibility":"private"}`,
		keyed: `POST /api/v4/projects/group%2Fteam%2Ffleet/deploy_keys {"can_push":false,"key":"` + key + `","title":"flux-system"}`,
		https: "https://gitlab.example/group/team/fleet.git", ssh: "ssh://git@gitlab.example/group/team/fleet.git",
	},
	"gitea": {
		make: Gitea, signed: header("Authorization", "token "+token), owner: "team",
		found: map[string]string{
			"GET /api/v1/repos/team/fleet":       `{"id":5,"full_name":"team/fleet","empty":true,"clone_url":"https://gitea.example/team/fleet.git","ssh_url":"git@gitea.example:team/fleet.git"}`,
			"GET /api/v1/repos/team/fleet/keys":  `[{"id":1,"key":"` + other + `","title":"x","read_only":true}]`,
			"POST /api/v1/repos/team/fleet/keys": `{"id":2,"key":"` + key + `","title":"flux-system","read_only":true}`,
		},
		absent: map[string]string{
			"GET /api/v1/repos/team/fleet": "404",
			"POST /api/v1/orgs/team/repos": `{"id":5,"clone_url":"https://gitea.example/team/fleet.git","ssh_url":"git@gitea.example:team/fleet.git"}`,
		},
		made:  `POST /api/v1/orgs/team/repos {"auto_init":false,"name":"fleet","private":true}`,
		keyed: `POST /api/v1/repos/team/fleet/keys {"key":"` + key + `","read_only":true,"title":"flux-system"}`,
		https: "https://gitea.example/team/fleet.git", ssh: "ssh://git@gitea.example/team/fleet.git",
	},
	"azure-devops": {
		make: AzureDevOps, owner: "org/my project",
		signed: func(r *http.Request) bool { _, p, ok := r.BasicAuth(); return ok && p == token },
		found: map[string]string{
			"GET /org/my%20project/_apis/git/repositories/fleet": `{"id":"5feb","name":"fleet","remoteUrl":"https://org@dev.azure.example/org/my%20project/_git/fleet","sshUrl":"git@ssh.dev.azure.example:v3/org/my%20project/fleet"}`,
		},
		absent: map[string]string{
			"GET /org/my%20project/_apis/git/repositories/fleet": "404",
			"GET /org/_apis/projects/my%20project":               `{"id":"6ce9","name":"my project","state":"wellFormed"}`,
			"POST /org/my%20project/_apis/git/repositories":      `{"id":"5feb","remoteUrl":"https://org@dev.azure.example/org/my%20project/_git/fleet","sshUrl":"git@ssh.dev.azure.example:v3/org/my%20project/fleet"}`,
		},
		made:  `POST /org/my%20project/_apis/git/repositories {"name":"fleet","project":{"id":"6ce9"}}`,
		https: "https://dev.azure.example/org/my%20project/_git/fleet", ssh: "ssh://git@ssh.dev.azure.example/v3/org/my%20project/fleet",
	},
}

func (s shape) host(t *testing.T, answers map[string]string, token string) (Host, *recorded) {
	t.Helper()
	api := &recorded{t: t, answers: answers, signed: s.signed}
	server := httptest.NewTLSServer(api)
	t.Cleanup(server.Close)
	h, err := s.make(Options{Hostname: strings.TrimPrefix(server.URL, "https://"), Token: token,
		CAFile: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})})
	if err != nil {
		t.Fatal(err)
	}
	return h, api
}

func (s shape) repository() Repository {
	return Repository{Owner: s.owner, Name: "fleet", Private: true}
}

func TestHostsFindARepositoryAndRegisterTheKeyOnce(t *testing.T) {
	for name, s := range shapes {
		t.Run(name, func(t *testing.T) {
			h, api := s.host(t, s.found, token)
			got, err := h.Ensure(t.Context(), s.repository())
			if want := (Found{HTTPS: s.https, SSH: s.ssh}); err != nil || got != want {
				t.Errorf("got %+v, %v, want %+v", got, err, want)
			}
			err = h.DeployKey(t.Context(), s.repository(), "flux-system", key, false)
			if s.keyed == "" {
				if f := fault.From(err); f == nil || !strings.Contains(f.Fix, "--token-auth") {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || !slices.Contains(api.asked, s.keyed) {
				t.Errorf("%v; asked %q, want %s", err, api.asked, s.keyed)
			}
			n := len(api.asked)
			if err := h.DeployKey(t.Context(), s.repository(), "flux-system", other, false); err != nil || len(api.asked) != n+1 {
				t.Errorf("a registered key: %v, asked %q", err, api.asked[n:])
			}
		})
	}
}

func TestHostsMakeARepositoryThatIsMissing(t *testing.T) {
	for name, s := range shapes {
		t.Run(name, func(t *testing.T) {
			h, api := s.host(t, s.absent, token)
			got, err := h.Ensure(t.Context(), s.repository())
			if want := (Found{HTTPS: s.https, SSH: s.ssh, Created: true}); err != nil || got != want {
				t.Errorf("got %+v, %v, want %+v", got, err, want)
			}
			if !slices.Contains(api.asked, s.made) {
				t.Errorf("asked %q, want %s", api.asked, s.made)
			}
		})
	}
}

func TestHostsTellWhatAStatusMeansAndRepeatNoToken(t *testing.T) {
	for name, s := range shapes {
		for status, says := range map[string]string{"401": "token", "403": "scopes", "500": "HTTP 500", "203": "token"} {
			if status == "203" && name != "azure-devops" {
				continue
			}
			t.Run(name+" "+status, func(t *testing.T) {
				answers := map[string]string{}
				for call := range s.found {
					answers[call] = status
				}
				h, _ := s.host(t, answers, token)
				_, err := h.Ensure(t.Context(), s.repository())
				f := fault.From(err)
				if f == nil || !strings.Contains(f.Multiline(), says) || strings.Contains(f.Multiline(), token) {
					t.Errorf("got %v", err)
				}
			})
		}
		t.Run(name+" wrong token", func(t *testing.T) {
			h, _ := s.host(t, s.found, "wrong")
			if _, err := h.Ensure(t.Context(), s.repository()); fault.From(err) == nil || fault.ExitCode(err) != fault.ExitGit {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestNewKeysAreOfTheKindAskedFor(t *testing.T) {
	for want, spec := range map[string]KeySpec{
		ssh.KeyAlgoECDSA384: {}, ssh.KeyAlgoECDSA256: {Curve: "p256"}, ssh.KeyAlgoED25519: {Algorithm: "ed25519"}, ssh.KeyAlgoRSA: {Algorithm: "rsa", Bits: 2048},
	} {
		private, public, err := NewKey(spec)
		if err != nil {
			t.Fatal(err)
		}
		signer, err := ssh.ParsePrivateKey(private)
		if err != nil || signer.PublicKey().Type() != want || string(ssh.MarshalAuthorizedKey(signer.PublicKey())) != string(public) {
			t.Errorf("%+v: %v", spec, err)
		}
	}
	for _, spec := range []KeySpec{{Algorithm: "dsa"}, {Curve: "p1"}, {Algorithm: "rsa", Bits: 1024}} {
		if _, _, err := NewKey(spec); fault.From(err) == nil {
			t.Errorf("%+v is made: %v", spec, err)
		}
	}
}
