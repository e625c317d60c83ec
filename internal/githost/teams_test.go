package githost

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// granting is what a host's API says and is asked when a team gets access and the visibility is set.
var granting = map[string]struct {
	team    string // as --team has it
	answers map[string]string
	grant   []string // the requests that give access
	publish string   // the request that makes the repository public
}{
	"github": {
		team:    "ops:push",
		answers: map[string]string{"PUT /api/v3/orgs/team/teams/ops/repos/team/fleet": "204", "PATCH /api/v3/repos/team/fleet": `{"id":1296269,"private":false}`},
		grant:   []string{`PUT /api/v3/orgs/team/teams/ops/repos/team/fleet {"permission":"push"}`},
		publish: `PATCH /api/v3/repos/team/fleet {"private":false}`,
	},
	"gitlab": {
		team: "group/ops:developer",
		answers: map[string]string{
			"GET /api/v4/projects/group%2Fteam%2Ffleet": `{"id":3,"visibility":"private","ssh_url_to_repo":"git@gitlab.example:group/team/fleet.git","http_url_to_repo":"https://gitlab.example/group/team/fleet.git",` +
				`"shared_with_groups":[{"group_id":9,"group_name":"ops","group_full_path":"group/ops","group_access_level":40}]}`,
			"GET /api/v4/groups/group%2Fops":                       `{"id":9,"full_path":"group/ops"}`,
			"DELETE /api/v4/projects/group%2Fteam%2Ffleet/share/9": "204",
			"POST /api/v4/projects/group%2Fteam%2Ffleet/share":     `{"id":1,"project_id":3,"group_id":9,"group_access":30}`,
			"PUT /api/v4/projects/group%2Fteam%2Ffleet":            `{"id":3,"visibility":"public"}`,
		},
		grant: []string{"DELETE /api/v4/projects/group%2Fteam%2Ffleet/share/9",
			`POST /api/v4/projects/group%2Fteam%2Ffleet/share {"group_access":30,"group_id":9}`},
		publish: `PUT /api/v4/projects/group%2Fteam%2Ffleet {"visibility":"public"}`,
	},
	"gitea": {
		team: "ops",
		answers: map[string]string{
			"GET /api/v1/repos/team/fleet":           `{"id":5,"private":true,"clone_url":"https://gitea.example/team/fleet.git","ssh_url":"git@gitea.example:team/fleet.git"}`,
			"PUT /api/v1/repos/team/fleet/teams/ops": "204",
			"PATCH /api/v1/repos/team/fleet":         `{"id":5,"private":false}`,
		},
		grant:   []string{"PUT /api/v1/repos/team/fleet/teams/ops"},
		publish: `PATCH /api/v1/repos/team/fleet {"private":false}`,
	},
}

func (s shape) with(answers map[string]string) map[string]string {
	all := maps.Clone(s.found)
	maps.Copy(all, answers)
	return all
}

func TestTeamsGetAccessToARepositoryThatIsThere(t *testing.T) {
	for name, g := range granting {
		t.Run(name, func(t *testing.T) {
			s := shapes[name]
			h, api := s.host(t, s.with(g.answers), token)
			r := s.repository()
			r.Teams = []Team{ParseTeam(g.team)}
			if _, err := h.Ensure(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			for _, call := range g.grant {
				if !slices.Contains(api.asked, call) {
					t.Errorf("asked %q, want %s", api.asked, call)
				}
			}
			n := len(api.asked)
			r.FindOnly = true
			if _, err := h.Ensure(t.Context(), r); err != nil || slices.ContainsFunc(api.asked[n:], func(c string) bool { return !strings.HasPrefix(c, "GET ") }) {
				t.Errorf("--export changes something: %v, %q", err, api.asked[n:])
			}
		})
	}
}

func TestOnlyReconcileSetsTheVisibilityOfARepositoryThatIsThere(t *testing.T) {
	for name, g := range granting {
		for _, tt := range []struct{ reconcile, private, changes bool }{{false, false, false}, {true, true, false}, {true, false, true}} {
			s := shapes[name]
			h, api := s.host(t, s.with(g.answers), token)
			r := s.repository()
			r.Reconcile, r.Private = tt.reconcile, tt.private
			if _, err := h.Ensure(t.Context(), r); err != nil || slices.Contains(api.asked, g.publish) != tt.changes {
				t.Errorf("%s %+v: %v, asked %q", name, tt, err, api.asked)
			}
		}
	}
}

func TestAGroupThatHasTheAccessIsLeftAlone(t *testing.T) {
	s := shapes["gitlab"]
	h, api := s.host(t, s.with(granting["gitlab"].answers), token)
	r := s.repository()
	r.Teams = []Team{{Name: "group/ops"}}
	if _, err := h.Ensure(t.Context(), r); err != nil || len(api.asked) != 2 {
		t.Errorf("%v, asked %q", err, api.asked)
	}
}

func TestWhatAHostHasNoNotionOfIsRefusedBeforeAnythingIsMade(t *testing.T) {
	for name, tt := range map[string]struct {
		host string
		ask  func(*Repository)
		says string
	}{
		"azure team":       {"azure-devops", func(r *Repository) { r.Teams = []Team{{Name: "ops"}} }, "--team"},
		"azure visibility": {"azure-devops", func(r *Repository) { r.Reconcile = true }, "--reconcile"},
		"gitea access":     {"gitea", func(r *Repository) { r.Teams = []Team{ParseTeam("ops:admin")} }, "--team ops"},
		"gitlab access":    {"gitlab", func(r *Repository) { r.Teams = []Team{ParseTeam("ops:king")} }, "maintainer"},
	} {
		s := shapes[tt.host]
		h, api := s.host(t, s.absent, token)
		r := s.repository()
		tt.ask(&r)
		_, err := h.Ensure(t.Context(), r)
		if f := fault.From(err); f == nil || !strings.Contains(f.Multiline(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
		if slices.ContainsFunc(api.asked, func(c string) bool { return !strings.HasPrefix(c, "GET ") }) {
			t.Errorf("%s: asked %q", name, api.asked)
		}
	}
}

func TestADeployTokenReadsOneRepositoryAlone(t *testing.T) {
	s := shapes["gitlab"]
	call := "POST /api/v4/projects/group%2Fteam%2Ffleet/deploy_tokens"
	h, api := s.host(t, map[string]string{call: `{"id":1,"name":"flux-a/b","username":"flux-a-b","token":"canary-deploy-0815","revoked":false,"scopes":["read_repository"]}`}, token)
	user, secret, err := h.(TokenHost).DeployToken(t.Context(), s.repository(), "flux-a/b")
	if err != nil || user != "flux-a-b" || secret != "canary-deploy-0815" {
		t.Errorf("%s, %v", user, err)
	}
	if want := call + ` {"name":"flux-a/b","scopes":["read_repository"],"username":"flux-a-b"}`; !slices.Contains(api.asked, want) {
		t.Errorf("asked %q", api.asked)
	}
	for name, s := range shapes {
		h, _ := s.host(t, s.found, token)
		if _, is := h.(TokenHost); is != (name == "gitlab") {
			t.Errorf("%s: %v", name, is)
		}
	}
}

func TestAPublicRepositoryOfAUserIsMadeAsSuch(t *testing.T) {
	for name, tt := range map[string]struct{ call, with string }{
		"github": {"POST /api/v3/user/repos", `{"name":"fleet","private":false}`},
		"gitea":  {"POST /api/v1/user/repos", `{"auto_init":false,"name":"fleet","private":false}`},
		"gitlab": {"POST /api/v4/projects", `{"initialize_with_readme":false,"name":"fleet","namespace_id":7,"path":"fleet","visibility":"public"}`},
	} {
		s := shapes[name]
		answers := maps.Clone(s.absent)
		answers[tt.call] = `{"id":1,"clone_url":"https://x.example/team/fleet.git"}`
		h, api := s.host(t, answers, token)
		r := s.repository()
		r.Personal, r.Private = true, false
		if _, err := h.Ensure(t.Context(), r); err != nil || !slices.Contains(api.asked, tt.call+" "+tt.with) {
			t.Errorf("%s: %v, asked %q", name, err, api.asked)
		}
	}
}

func TestGitLabsInternalProjectsAreMadeAsSuch(t *testing.T) {
	s := shapes["gitlab"]
	h, api := s.host(t, s.absent, token)
	r := s.repository()
	r.Internal = true
	if _, err := h.Ensure(t.Context(), r); err != nil || !strings.Contains(strings.Join(api.asked, "\n"), `"visibility":"internal"`) {
		t.Errorf("%v, asked %q", err, api.asked)
	}
}
