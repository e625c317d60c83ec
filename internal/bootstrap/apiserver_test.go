package bootstrap

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// kubectl applies a manifest server-side with strict validation and gives what it printed.
func kubectl(t *testing.T, env *testkit.Env, manifest []byte) string {
	t.Helper()
	cmd := exec.Command(env.Kubectl, "--kubeconfig", env.Kubeconfig, "apply", "--server-side", "--validate=strict", "-f", "-")
	cmd.Stdin = bytes.NewReader(manifest)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl apply: %v\n%s", err, out)
	}
	return string(out)
}

func TestAPIServerTakesComponentsAndSyncAsTheyAre(t *testing.T) {
	env := testkit.Cluster(t)
	if out := kubectl(t, env, mustComponents(t, Options{})); strings.Contains(out, "Warning") {
		t.Errorf("the API server warns:\n%s", out)
	}
	sync, err := Sync(SyncOptions{URL: "https://git.test/fleet.git", Path: "clusters/one"})
	if err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, time.Minute, func() error { // the definitions need a moment until they are served
		cmd := exec.Command(env.Kubectl, "--kubeconfig", env.Kubeconfig, "wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
		return cmd.Run()
	})
	kubectl(t, env, sync)
}
