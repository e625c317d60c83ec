package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/internal/fault"
)

func command(t *testing.T, env map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	code = Run(context.Background(), args, Streams{Out: &out, Err: &errOut, Env: func(k string) string { return env[k] }})
	return code, out.String(), errOut.String()
}

func TestWrongUsageIsExitCodeTwoWithAFix(t *testing.T) {
	for _, args := range [][]string{
		{"nosuch"}, {"get"}, {"get", "sources"}, {"get", "ks", "a", "b"}, {"get", "ks", "-o", "xml"}, {"reconcile", "ks"}, {"reconcile"},
		{"up", "--nosuch"}, {"up", "extra"}, {"up", "--progress", "fancy"}, {"platform"}, {"controller", "--log-level", "loud"},
	} {
		code, out, errOut := command(t, map[string]string{"SLUICE_STATE_DIR": t.TempDir()}, args...)
		if code != fault.ExitUsage || out != "" || !strings.HasPrefix(errOut, "✗ ") {
			t.Errorf("%v: exit %d, stdout %q, stderr %q", args, code, out, errOut)
		}
	}
}

func TestHelpListsCommandsButNotTheSupervisor(t *testing.T) {
	code, out, _ := command(t, nil, "--help")
	if code != 0 || !strings.Contains(out, "reconcile") || !strings.Contains(out, "completion") || strings.Contains(out, "platform ") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

func TestWithoutAClusterTheFixIsTheLocalPlatform(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("HOME", t.TempDir())
	code, _, errOut := command(t, nil, "get", "ks")
	if code != fault.ExitCluster || !strings.Contains(errOut, `eval "$(sluice env)"`) {
		t.Errorf("exit %d: %s", code, errOut)
	}
}

func TestAnUnreachableClusterIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	const text = `{apiVersion: v1, kind: Config, current-context: x, contexts: [{name: x, context: {cluster: x}}], clusters: [{name: x, cluster: {server: "http://127.0.0.1:1"}}]}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, errOut := command(t, nil, "get", "ks", "--kubeconfig", file)
	if code != fault.ExitCluster || !strings.Contains(errOut, "127.0.0.1:1") || !strings.Contains(errOut, "fix") {
		t.Errorf("exit %d: %s", code, errOut)
	}
}

func TestEnvAndDownWithoutAPlatform(t *testing.T) {
	dir := map[string]string{"SLUICE_STATE_DIR": filepath.Join(t.TempDir(), "none")}
	if code, out, errOut := command(t, dir, "env"); code != fault.ExitNo || out != "" || !strings.Contains(errOut, "sluice up") {
		t.Errorf("env: exit %d, %q, %q", code, out, errOut)
	}
	if code, _, errOut := command(t, dir, "down"); code != 0 || errOut != "nothing is running\n" {
		t.Errorf("down: exit %d, %q", code, errOut)
	}
}

func TestVersionNamesTheProgram(t *testing.T) {
	if code, out, _ := command(t, nil, "version"); code != 0 || !strings.HasPrefix(out, "sluice ") {
		t.Errorf("exit %d: %q", code, out)
	}
}

func TestCompletionIsOffered(t *testing.T) {
	if code, out, _ := command(t, nil, "completion", "bash"); code != 0 || !strings.Contains(out, "sluice") {
		t.Errorf("exit %d: %d bytes", code, len(out))
	}
}
