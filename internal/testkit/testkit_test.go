package testkit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

func TestMain(m *testing.M) { Main(m) }

func TestTheServerIsARealOne(t *testing.T) {
	env := Cluster(t)
	v, err := kubernetes.NewForConfigOrDie(env.Config).Discovery().ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(v.GitVersion, "v1.36.") {
		t.Errorf("version %s", v.GitVersion)
	}
	out, err := exec.Command(env.Kubectl, "--kubeconfig", env.Kubeconfig, "auth", "can-i", "*", "*").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "yes" {
		t.Errorf("kubectl: %v, %s", err, out)
	}
}

func TestEveryNamespaceIsAnother(t *testing.T) {
	env := Cluster(t)
	if a, b := Namespace(t, env), Namespace(t, env); a == b || !strings.HasPrefix(a, "t-testeverynamespaceisanother-") {
		t.Errorf("%s and %s", a, b)
	}
}

// TestAWatchLeftOpenDoesNotHoldUpTheEnd has its verdict in Main, which fails when the server doesn't stop in time.
func TestAWatchLeftOpenDoesNotHoldUpTheEnd(t *testing.T) {
	client := kubernetes.NewForConfigOrDie(Cluster(t).Config)
	if _, err := client.CoreV1().Namespaces().Watch(context.Background(), metav1.ListOptions{}); err != nil {
		t.Fatal(err)
	}
}

const widgets = `# generated
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.testkit.example}
spec:
  group: testkit.example
  scope: Namespaced
  names: {kind: Widget, plural: widgets, singular: widget, listKind: WidgetList}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
`

func TestInstalledDefinitionsAreServedAndMayBeInstalledAgain(t *testing.T) {
	env := Cluster(t)
	InstallCRDs(t, env, []byte(widgets))
	InstallCRDs(t, env, []byte(widgets))
	_, err := apiextensionsclient.NewForConfigOrDie(env.Config).CustomResourceDefinitions().
		Get(t.Context(), "widgets.testkit.example", metav1.GetOptions{})
	if err != nil {
		t.Error(err)
	}
	if err := kubernetes.NewForConfigOrDie(env.Config).Discovery().RESTClient().Get().
		AbsPath("/apis/testkit.example/v1/widgets").Do(t.Context()).Error(); err != nil {
		t.Error(err)
	}
}

func TestAMissingBinaryNamesTheCommandThatBuildsIt(t *testing.T) {
	t.Setenv(binaryVariable, "")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	sub := filepath.Join(dir, "internal", "deep")
	if err := os.MkdirAll(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := findBinary(sub)
	if err == nil || !strings.Contains(err.Error(), "make build") || !strings.Contains(err.Error(), filepath.Join(dir, "bin")) {
		t.Errorf("got %v", err)
	}
}

func TestEventuallyStopsAtTheFirstSuccess(t *testing.T) {
	calls := 0
	Eventually(t, time.Minute, func() error {
		if calls++; calls < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if calls != 3 {
		t.Errorf("%d calls", calls)
	}
}

func TestEventuallyFailsWithTheLastError(t *testing.T) {
	calls := 0
	said := failure(t, func(tb testing.TB) {
		Eventually(tb, 0, func() error { calls++; return fmt.Errorf("attempt %d", calls) })
	})
	if calls != 1 || !strings.Contains(said, "attempt 1") {
		t.Errorf("%d calls, said %q", calls, said)
	}
}

func TestGoldenNamesTheFirstLineThatDiffers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "plan.golden")
	if err := os.WriteFile(path, []byte("a\nb\nc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	Golden(t, path, []byte("a\nb\nc\n"))
	for got, want := range map[string]string{"a\nx\nc\n": "line 2", "a\nb\n": "line 3", "a\nb\nc\nd\n": "line 4"} {
		if said := failure(t, func(tb testing.TB) { Golden(tb, path, []byte(got)) }); !strings.Contains(said, want) {
			t.Errorf("%q: said %q, want %q", got, said, want)
		}
	}
}

func TestGoldenWithoutItsFileSaysHowToWriteIt(t *testing.T) {
	said := failure(t, func(tb testing.TB) { Golden(tb, filepath.Join(t.TempDir(), "none"), []byte("a")) })
	if !strings.Contains(said, "-update") {
		t.Errorf("said %q", said)
	}
}

// recorder is a testing.TB that keeps what a fatal failure says.
type recorder struct {
	testing.TB
	said string
}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(format string, args ...any) {
	r.said = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// failure runs f and returns what it failed with, or "".
func failure(t *testing.T, f func(testing.TB)) string {
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(r)
	}()
	<-done
	return r.said
}
