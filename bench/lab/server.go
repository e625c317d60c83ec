package lab

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// Server is an etcd and a kube-apiserver without any controller beside them, with priority and fairness on, as every
// cluster has it: Flux's controllers throttle themselves where it is off.
type Server struct {
	Config     *rest.Config // of an administrator, unthrottled
	Kubeconfig string       // file of the same
	API        dynamic.Interface
	REST       rest.Interface
	Own        atomic.Int64 // requests sent with Config, watches aside

	env *envtest.Environment
}

// StartServer starts an empty API server with its data in dir, out of the control plane's binary.
func StartServer(dir, binary string) (*Server, error) {
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o755); err != nil {
		return nil, err
	}
	for _, name := range []string{"etcd", "kube-apiserver", "kubectl"} {
		if err := os.Symlink(binary, filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	if err := os.Setenv("SLUICE_CLUSTER_EXIT_WITH_PARENT", "1"); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	s := &Server{env: &envtest.Environment{ControlPlaneStartTimeout: StartTimeout, ControlPlaneStopTimeout: StartTimeout}}
	s.env.ControlPlane.Etcd = &envtest.Etcd{Path: filepath.Join(dir, "etcd"), DataDir: filepath.Join(dir, "data"), Out: log, Err: log}
	s.env.ControlPlane.Etcd.Configure().Set("quota-backend-bytes", "8000000000")
	api := s.env.ControlPlane.GetAPIServer()
	api.Path, api.Out, api.Err = filepath.Join(dir, "kube-apiserver"), log, log
	s.env.ControlPlane.KubectlPath = filepath.Join(dir, "kubectl")
	api.Configure().Set("service-cluster-ip-range", "10.0.0.0/12").Set("endpoint-reconciler-type", "none").
		Set("shutdown-watch-termination-grace-period", "1s").Set("shutdown-send-retry-after", "true")
	if s.Config, err = s.env.Start(); err != nil {
		return nil, fmt.Errorf("start the API server (see %s): %w", log.Name(), err)
	}
	s.Kubeconfig = filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(s.Kubeconfig, s.env.KubeConfig, 0o600); err != nil {
		return nil, err
	}
	s.Config.QPS = -1
	s.Config.Wrap(func(next http.RoundTripper) http.RoundTripper { return counted{&s.Own, next} })
	if s.API, err = dynamic.NewForConfig(s.Config); err != nil {
		return nil, err
	}
	c, err := kubernetes.NewForConfig(s.Config)
	if err != nil {
		return nil, err
	}
	s.REST = c.RESTClient()
	return s, nil
}

// Stop ends both processes.
func (s *Server) Stop() { _ = s.env.Stop() }

// Install installs the CRDs of files or folders, and waits until they are served.
func (s *Server) Install(crds ...string) error {
	_, err := envtest.InstallCRDs(s.Config, envtest.CRDInstallOptions{Paths: crds, ErrorIfPathMissing: true, MaxTime: StartTimeout})
	return err
}

// counted counts what passes to the API server, watches aside.
type counted struct {
	n    *atomic.Int64
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (c counted) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Query().Get("watch") == "" {
		c.n.Add(1)
	}
	return c.next.RoundTrip(r)
}
