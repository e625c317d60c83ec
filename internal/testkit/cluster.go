package testkit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// Env is a running API server.
type Env struct {
	Config     *rest.Config // of a cluster administrator, without client-side rate limits to speak of
	Kubeconfig string       // path of a kubeconfig file for the same user
	Kubectl    string       // path of a kubectl of the server's version
}

// startTimeout bounds the start of etcd and of the API server, each. Test machines are busy.
const startTimeout = 60 * time.Second

// stopTimeout bounds their end, likewise.
const stopTimeout = 20 * time.Second

// shared is the server of this test binary.
var shared struct {
	once    sync.Once
	managed bool // Main will stop it
	server  *server
	err     error
}

// Main runs the tests of a package that uses Cluster, stops its server and exits. Call it from TestMain.
func Main(m *testing.M) {
	shared.managed = true
	log.SetLogger(logr.Discard()) // or controller-runtime complains half a minute later
	code := m.Run()
	if shared.server != nil {
		if err := shared.server.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "testkit: stop the API server:", err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// Cluster returns the API server of this test binary, starting it at the first call (about four seconds). Tests share
// it: each works in a Namespace of its own. A server that doesn't start fails every test that asks for it.
func Cluster(t testing.TB) *Env {
	t.Helper()
	if !shared.managed {
		t.Fatal("testkit.Cluster needs: func TestMain(m *testing.M) { testkit.Main(m) }")
	}
	shared.once.Do(func() { shared.server, shared.err = startServer() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	env := *shared.server.env
	env.Config = rest.CopyConfig(env.Config)
	return &env
}

// server is an etcd and a kube-apiserver with the folder they live in.
type server struct {
	env     *Env
	envtest *envtest.Environment
	dir     string
	log     *os.File
}

func startServer() (*server, error) {
	wd, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	binary, err := findBinary(wd)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "testkit-")
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir}
	if err := s.start(binary); err != nil {
		err = fmt.Errorf("start the API server: %w\n%s", err, s.logTail(2000))
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func (s *server) start(binary string) error {
	if err := linkPrograms(binary, s.dir); err != nil {
		return err
	}
	var err error
	if s.log, err = os.Create(filepath.Join(s.dir, "log")); err != nil {
		return err
	}
	// The children end with this process even if it is killed or times out, when nobody calls stop.
	if err := os.Setenv("SLUICE_CLUSTER_EXIT_WITH_PARENT", "1"); err != nil {
		return err
	}
	s.envtest = s.environment()
	config, err := s.envtest.Start()
	if err != nil {
		return err
	}
	s.env = &Env{
		Config:     config,
		Kubeconfig: filepath.Join(s.dir, "kubeconfig"),
		Kubectl:    filepath.Join(s.dir, "kubectl"),
	}
	return os.WriteFile(s.env.Kubeconfig, s.envtest.KubeConfig, 0o600)
}

// environment names every path itself: KUBEBUILDER_ASSETS would overrule envtest's BinaryAssetsDirectory. envtest makes
// etcd skip fsync, and turns off the admission of ServiceAccounts, for which a controller would be needed.
func (s *server) environment() *envtest.Environment {
	e := &envtest.Environment{ControlPlaneStartTimeout: startTimeout, ControlPlaneStopTimeout: stopTimeout}
	e.ControlPlane.Etcd = &envtest.Etcd{Path: filepath.Join(s.dir, "etcd"), Out: s.log, Err: s.log}
	api := e.ControlPlane.GetAPIServer()
	api.Path, api.Out, api.Err = filepath.Join(s.dir, "kube-apiserver"), s.log, s.log
	e.ControlPlane.KubectlPath = filepath.Join(s.dir, "kubectl")
	api.Configure().
		Set("service-cluster-ip-range", "10.0.0.0/16").
		Set("endpoint-reconciler-type", "none").
		Set("enable-priority-and-fairness", "false").
		Set("profiling", "false").
		// Watches that tests leave open would hold the server's end up for a minute.
		Set("shutdown-watch-termination-grace-period", "1s").
		Set("shutdown-send-retry-after", "true")
	return e
}

// stop ends both processes and removes what they wrote.
func (s *server) stop() error {
	var errs []error
	if s.envtest != nil {
		errs = append(errs, s.envtest.Stop())
	}
	if s.log != nil {
		errs = append(errs, s.log.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

// logTail returns the last n bytes that the processes logged.
func (s *server) logTail(n int) []byte {
	data, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return data[max(0, len(data)-n):]
}
