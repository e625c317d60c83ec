package aks

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// No dev container can be built where these tests run: they read its files, as its tools do.

// remark matches what JSON does not know and devcontainer.json may have, and strings, in which nothing is a comment.
var remark = regexp.MustCompile(`("(?:[^"\\]|\\.)*")|//[^\n]*|(?s:/\*.*?\*/)`)

func withoutComments(text string) string { return remark.ReplaceAllString(text, "$1") }

type devcontainer struct {
	Build     struct{ Dockerfile string }
	Features  map[string]map[string]any
	Customize struct {
		VSCode struct{ Extensions []string }
	} `json:"customizations"`
	RemoteUser        string
	PostCreateCommand string
	Mounts, RunArgs   []any
	RemoteEnv         map[string]string
	ContainerEnv      map[string]string
}

func TestTheDevContainerHasEveryToolOfTheArticle(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(".devcontainer", "devcontainer.json"))
	if err != nil {
		t.Fatal(err)
	}
	var c devcontainer
	if err := json.Unmarshal([]byte(withoutComments(string(text))), &c); err != nil {
		t.Fatal(err)
	}
	docker, err := os.ReadFile(filepath.Join(".devcontainer", c.Build.Dockerfile))
	if err != nil {
		t.Fatal(err)
	}
	az := c.Features["ghcr.io/devcontainers/features/azure-cli:1"]
	if az == nil || az["installBicep"] != true {
		t.Errorf("az and Bicep: %v", c.Features)
	}
	for tool, line := range map[string]string{
		"the debian base": `FROM mcr\.microsoft\.com/devcontainers/base:2\.\d+\.\d+-bookworm`,
		"flux":            `COPY --from=ghcr\.io/fluxcd/flux-cli:v\d+\.\d+\.\d+ /usr/local/bin/flux /usr/local/bin/flux`,
		"sops":            `COPY --from=ghcr\.io/getsops/sops:v\d+\.\d+\.\d+ /usr/local/bin/sops /usr/local/bin/sops`,
		"kubectl":         `COPY --from=registry\.k8s\.io/kubectl:v\d+\.\d+\.\d+ /bin/kubectl /usr/local/bin/kubectl`,
	} {
		if !regexp.MustCompile(`(?m)^` + line + `$`).Match(docker) {
			t.Errorf("%s is not in the Dockerfile at a fixed version", tool)
		}
	}
	if !slices.Contains(c.Customize.VSCode.Extensions, "ms-azuretools.vscode-bicep") {
		t.Error("no Bicep extension")
	}
	for _, tool := range []string{"az version", "az bicep version", "flux version", "sops --version", "kubectl version"} {
		if !strings.Contains(c.PostCreateCommand, tool) {
			t.Errorf("nothing tells whether %q works", tool)
		}
	}
	if c.RemoteUser != "vscode" || len(c.Mounts)+len(c.RunArgs)+len(c.RemoteEnv)+len(c.ContainerEnv) > 0 {
		t.Errorf("user %q, or something of the host comes in", c.RemoteUser)
	}
}

func TestTheDevContainersVersionsAreFixedAndOurs(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(".devcontainer", "devcontainer.json"))
	if err != nil {
		t.Fatal(err)
	}
	docker, err := os.ReadFile(filepath.Join(".devcontainer", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join("..", "..", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for _, loose := range []string{"latest", ":edge", "os-provided", "/main/"} {
		if strings.Contains(string(text)+string(docker), loose) {
			t.Errorf("%q is no fixed version", loose)
		}
	}
	if !regexp.MustCompile(`"version": "\d+\.\d+\.\d+"`).Match(text) || !regexp.MustCompile(`"bicepVersion": "v\d+\.\d+\.\d+"`).Match(text) {
		t.Error("az or Bicep has no fixed version")
	}
	sops := regexp.MustCompile(`github\.com/getsops/sops/v3 (v\S+)`).FindSubmatch(mod)
	if sops == nil || !strings.Contains(string(docker), "getsops/sops:"+string(sops[1])+" ") {
		t.Errorf("the sops of the container is not the one that go.mod has: %s", sops)
	}
	kube := regexp.MustCompile(`k8s\.io/client-go v0\.(\d+)\.`).FindSubmatch(mod)
	if kube == nil || !strings.Contains(string(docker), "kubectl:v1."+string(kube[1])+".") {
		t.Errorf("kubectl is not of the Kubernetes that go.mod has: %s", kube)
	}
}

func TestCommentsAreRemovedAndStringsKept(t *testing.T) {
	got := withoutComments("{ // a\n \"url\": \"https://x/*y*/\\\"//z\", /* b\n c */ \"n\": 1 }")
	if got != "{ \n \"url\": \"https://x/*y*/\\\"//z\",  \"n\": 1 }" {
		t.Errorf("%q", got)
	}
}
