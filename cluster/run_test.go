package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// asProgram makes this test binary behave as sluice-cluster: it is the same code.
const asProgram = "SLUICE_CLUSTER_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// program prepares sluice-cluster with args.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Args[0] = "sluice-cluster"
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// platform is a control plane under test.
type platform struct {
	t     *testing.T
	dir   string
	args  []string
	cmd   *exec.Cmd
	stdin io.Closer
	log   bytes.Buffer
}

func newPlatform(t *testing.T) *platform {
	dir := filepath.Join(t.TempDir(), "cluster")
	return &platform{t: t, dir: dir, args: []string{"run", "--dir", dir, "--issuer", testIssuer, "--exit-with-parent",
		"--api-port", strconv.Itoa(freePort(t)), "--etcd-port", strconv.Itoa(freePort(t)),
		"--etcd-peer-port", strconv.Itoa(freePort(t))}}
}

// up starts the control plane and returns when it says ready.
func (p *platform) up() {
	p.t.Helper()
	p.log.Reset()
	p.cmd = program(p.t, p.args...)
	p.cmd.Stderr = &p.log
	stdin, err1 := p.cmd.StdinPipe()
	stdout, err2 := p.cmd.StdoutPipe()
	if err1 != nil || err2 != nil {
		p.t.Fatal(err1, err2)
	}
	p.stdin = stdin
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if line != "ready\n" {
		_ = p.cmd.Wait()
		p.t.Fatalf("said %q, %v\n%s", line, err, p.log.String())
	}
	p.t.Logf("ready after %v", time.Since(began).Round(10*time.Millisecond))
}

// down waits for the end that a signal or the end of its input causes.
func (p *platform) down(cause func() error) error {
	p.t.Helper()
	began := time.Now()
	if err := cause(); err != nil {
		p.t.Fatal(err)
	}
	timer := time.AfterFunc(20*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	err := p.cmd.Wait()
	p.t.Logf("down after %v", time.Since(began).Round(10*time.Millisecond))
	return err
}

func (p *platform) signal(s syscall.Signal) func() error {
	return func() error { return p.cmd.Process.Signal(s) }
}

func (p *platform) tryKubectl(args ...string) (string, error) {
	cmd := program(p.t, append([]string{"kubectl", "--kubeconfig", adminKubeconfig(p.dir)}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (p *platform) kubectl(args ...string) string {
	p.t.Helper()
	out, err := p.tryKubectl(args...)
	if err != nil {
		p.t.Fatalf("kubectl %v: %v\n%s", args, err, out)
	}
	return out
}

// TestAControlPlaneLivesThroughStopsAndKills walks one platform through what `sluice up` does to it.
func TestAControlPlaneLivesThroughStopsAndKills(t *testing.T) {
	p := newPlatform(t)
	p.up()
	p.kubectl("create", "namespace", "app")
	waitFor(t, func() bool { _, err := p.tryKubectl("get", "sa", "default", "-n", "app"); return err == nil })

	t.Run("tokens name the issuer", func(t *testing.T) {
		token := p.kubectl("create", "token", "default", "-n", "app", "--audience", "api://AzureADTokenExchange")
		claims := claimsOf(t, token)
		if claims["iss"] != testIssuer {
			t.Errorf("issuer is %v", claims["iss"])
		}
	})
	t.Run("ordinary tokens are accepted", func(t *testing.T) {
		config, err := clientcmd.BuildConfigFromFlags("", adminKubeconfig(p.dir))
		if err != nil {
			t.Fatal(err)
		}
		config = rest.AnonymousClientConfig(config)
		config.BearerToken = strings.TrimSpace(p.kubectl("create", "token", "default", "-n", "app"))
		me, err := kubernetes.NewForConfigOrDie(config).AuthenticationV1().SelfSubjectReviews().
			Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := me.Status.UserInfo.Username; got != "system:serviceaccount:app:default" {
			t.Errorf("is %q", got)
		}
	})
	t.Run("nobody without credentials sees more than health", func(t *testing.T) {
		config, err := clientcmd.BuildConfigFromFlags("", adminKubeconfig(p.dir))
		if err != nil {
			t.Fatal(err)
		}
		anonymous := kubernetes.NewForConfigOrDie(rest.AnonymousClientConfig(config)).Discovery().RESTClient()
		if err := anonymous.Get().AbsPath("/readyz").Do(t.Context()).Error(); err != nil {
			t.Errorf("/readyz: %v", err)
		}
		for _, path := range []string{"/version", "/openid/v1/jwks", "/api"} {
			if err := anonymous.Get().AbsPath(path).Do(t.Context()).Error(); !apierrors.IsUnauthorized(err) {
				t.Errorf("%s: %v", path, err)
			}
		}
	})
	t.Run("discovery points under the issuer", func(t *testing.T) {
		out := p.kubectl("get", "--raw", "/.well-known/openid-configuration")
		if !strings.Contains(out, testIssuer+"openid/v1/jwks") {
			t.Error(out)
		}
	})
	t.Run("deployments get ready and jobs complete", func(t *testing.T) {
		p.kubectl("create", "deployment", "web", "--image=web", "-n", "app", "--replicas=2")
		p.kubectl("rollout", "status", "deployment/web", "-n", "app", "--timeout=60s")
		p.kubectl("create", "job", "once", "--image=once", "-n", "app")
		p.kubectl("wait", "--for=condition=complete", "job/once", "-n", "app", "--timeout=60s")
	})

	if err := p.down(p.signal(syscall.SIGTERM)); err != nil {
		t.Fatalf("after SIGTERM: %v\n%s", err, p.log.String())
	}
	p.up()
	t.Run("a deployment survives a stop and scales afterwards", func(t *testing.T) {
		p.kubectl("scale", "deployment/web", "-n", "app", "--replicas=3")
		p.kubectl("rollout", "status", "deployment/web", "-n", "app", "--timeout=60s")
		p.kubectl("create", "configmap", "written-last", "-n", "app")
	})

	_ = p.down(p.signal(syscall.SIGKILL))
	p.up()
	t.Run("what was acknowledged survives a kill", func(t *testing.T) {
		p.kubectl("get", "configmap", "written-last", "-n", "app")
	})
	t.Run("namespaces with pods terminate", func(t *testing.T) {
		p.kubectl("delete", "namespace", "app", "--timeout=60s")
	})

	if err := p.down(p.stdin.Close); err != nil {
		t.Errorf("after the end of its input: %v", err)
	}
}

func TestATakenPortEndsTheStartWithOneLine(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := newPlatform(t)
	cmd := program(t, append(p.args, "--api-port", strconv.Itoa(l.Addr().(*net.TCPAddr).Port))...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 || bytes.Count(out, []byte("\n")) != 1 || !bytes.Contains(out, []byte("--api-port")) {
		t.Errorf("exit %v, output %s", err, out)
	}
}

func TestAProgramEndsWithItsParent(t *testing.T) {
	dir := t.TempDir()
	url := "http://127.0.0.1:" + strconv.Itoa(freePort(t))
	etcd := program(t, "etcd", "--data-dir", dir, "--listen-client-urls", url, "--advertise-client-urls", url,
		"--listen-peer-urls", "http://127.0.0.1:"+strconv.Itoa(freePort(t)))
	// The shell is the parent: it leaves etcd behind when it gets its line. etcd holds standard output open.
	shell := exec.Command("sh", "-c", `"$0" "$@" & echo started; read line`, etcd.Path)
	shell.Args = append(shell.Args, etcd.Args[1:]...)
	shell.Env = append(etcd.Env, exitWithParentVariable+"=1")
	shell.Stderr = io.Discard
	stdin, err1 := shell.StdinPipe()
	stdout, err2 := shell.StdoutPipe()
	if err := errors.Join(err1, err2, shell.Start()); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(stdout)
	if line, err := out.ReadString('\n'); err != nil {
		t.Fatal(line, err)
	}
	waitFor(t, func() bool {
		resp, err := http.Get(url + "/health")
		if err == nil {
			resp.Body.Close()
		}
		return err == nil
	})
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, out)
		ended <- err
	}()
	stdin.Close()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("etcd outlived its parent")
	}
	_ = shell.Wait()
}

// claimsOf decodes a token's payload without verifying it.
func claimsOf(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("not a JWT: %d parts", len(parts))
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatal("not in time")
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
