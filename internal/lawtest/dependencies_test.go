package lawtest

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const decisions = "docs/decisions/0001-dependencies.md"

type gomod struct {
	Require []struct {
		Path, Version string
		Indirect      bool
	}
	Replace []struct{ Old struct{ Path string } }
	Tool    []struct{ Path string }
}

func mainModule(t *testing.T) gomod {
	t.Helper()
	cmd := exec.Command("go", "mod", "edit", "-json")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var m gomod
	if err := json.Unmarshal(out, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestEveryDirectDependencyIsADecision(t *testing.T) {
	m, text := mainModule(t), read(t, decisions)
	for _, r := range m.Require {
		if !r.Indirect && !strings.Contains(text, "`"+r.Path+"`") {
			t.Errorf("%s is required by go.mod, and %s does not say why", r.Path, decisions)
		}
	}
}

func TestEveryDecidedDependencyIsStillThere(t *testing.T) {
	m := mainModule(t)
	for _, line := range strings.Split(read(t, decisions), "\n") {
		path, ok := strings.CutPrefix(line, "| `")
		if !ok {
			continue
		}
		path, _, _ = strings.Cut(path, "`")
		if !slices.ContainsFunc(m.Require, func(r struct {
			Path, Version string
			Indirect      bool
		}) bool {
			return r.Path == path
		}) {
			t.Errorf("%s explains %s, which go.mod does not require", decisions, path)
		}
	}
}

func TestMainModuleReplacesNothing(t *testing.T) {
	for _, r := range mainModule(t).Replace {
		t.Errorf("go.mod replaces %s: go install of a tagged version would refuse the module", r.Old.Path)
	}
}

func TestToolsArePinnedInTheModule(t *testing.T) {
	m := mainModule(t)
	for _, tool := range []string{"honnef.co/go/tools/cmd/staticcheck", "github.com/getsops/sops/v3/cmd/sops"} {
		if !slices.ContainsFunc(m.Tool, func(have struct{ Path string }) bool { return have.Path == tool }) {
			t.Errorf("go.mod has no tool line for %s", tool)
		}
	}
}
