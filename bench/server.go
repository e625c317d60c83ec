package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// The kinds that are measured.
var (
	kustomizations  = schema.GroupVersionResource{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Resource: "kustomizations"}
	gitRepositories = schema.GroupVersionResource{Group: "source.toolkit.fluxcd.io", Version: "v1", Resource: "gitrepositories"}
	namespaces      = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	configMaps      = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	secrets         = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
)

// server is an etcd and a kube-apiserver without any controller beside them, with priority and fairness on, as every
// cluster has it: Flux's controllers throttle themselves where it is off.
type server struct {
	env        *envtest.Environment
	config     *rest.Config
	kubeconfig string
	api        dynamic.Interface
	rest       rest.Interface
	own        atomic.Int64 // requests that the benchmark itself sent, watches aside
}

// startServer starts an empty API server with its data in dir, out of the control plane's binary.
func startServer(dir, binary string) (*server, error) {
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
	s := &server{env: &envtest.Environment{ControlPlaneStartTimeout: startTimeout, ControlPlaneStopTimeout: startTimeout}}
	s.env.ControlPlane.Etcd = &envtest.Etcd{Path: filepath.Join(dir, "etcd"), DataDir: filepath.Join(dir, "data"), Out: log, Err: log}
	s.env.ControlPlane.Etcd.Configure().Set("quota-backend-bytes", "8000000000")
	api := s.env.ControlPlane.GetAPIServer()
	api.Path, api.Out, api.Err = filepath.Join(dir, "kube-apiserver"), log, log
	s.env.ControlPlane.KubectlPath = filepath.Join(dir, "kubectl")
	api.Configure().Set("service-cluster-ip-range", "10.0.0.0/12").Set("endpoint-reconciler-type", "none").
		Set("shutdown-watch-termination-grace-period", "1s").Set("shutdown-send-retry-after", "true")
	if s.config, err = s.env.Start(); err != nil {
		return nil, fmt.Errorf("start the API server (see %s): %w", log.Name(), err)
	}
	s.kubeconfig = filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(s.kubeconfig, s.env.KubeConfig, 0o600); err != nil {
		return nil, err
	}
	s.config.QPS = -1
	s.config.Wrap(func(next http.RoundTripper) http.RoundTripper { return counted{&s.own, next} })
	if s.api, err = dynamic.NewForConfig(s.config); err != nil {
		return nil, err
	}
	c, err := kubernetes.NewForConfig(s.config)
	if err != nil {
		return nil, err
	}
	s.rest = c.RESTClient()
	return s, nil
}

func (s *server) stop() { _ = s.env.Stop() }

func (s *server) install(crds ...string) error {
	_, err := envtest.InstallCRDs(s.config, envtest.CRDInstallOptions{Paths: crds, ErrorIfPathMissing: true, MaxTime: startTimeout})
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

// requests are counts of requests that the API server has answered.
type requests struct {
	own          int64
	status       float64 // writes of a status
	other        float64 // everything else but watches; the benchmark's own among them
	objectWrites float64 // writes of what is managed: neither Flux's objects nor events, and no dry-run
}

// requests reads the API server's own counters.
func (s *server) requests(ctx context.Context) (requests, error) {
	r := requests{own: s.own.Load()}
	body, err := s.rest.Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return r, err
	}
	for lines := bufio.NewScanner(strings.NewReader(string(body))); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), "{")
		if name != "apiserver_request_total" {
			continue
		}
		at := strings.LastIndex(rest, "}")
		value, err := strconv.ParseFloat(strings.TrimSpace(rest[at+1:]), 64)
		if err != nil {
			return r, err
		}
		l := labels(rest[:at])
		switch {
		case l["verb"] == "WATCH" || l["verb"] == "WATCHLIST" || serversOwn[l["resource"]]:
		case l["subresource"] == "status":
			r.status += value
		default:
			r.other += value
			r.objectWrites += objectWrite(l) * value
		}
	}
	return r, nil
}

// serversOwn are what the API server asks of itself: its lease, and the address of each Service.
var serversOwn = map[string]bool{"leases": true, "ipaddresses": true}

// objectWrite is 1 for a write of a managed object; the workload has none of a k8s.io group.
func objectWrite(l map[string]string) float64 {
	switch l["verb"] {
	case "POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION":
	default:
		return 0
	}
	switch {
	case l["dry_run"] != "", l["resource"] == "events", l["resource"] == "", strings.HasSuffix(l["group"], "fluxcd.io"),
		strings.HasSuffix(l["group"], ".k8s.io"):
		return 0
	}
	return 1
}

// labels reads the labels of a metric; no value of apiserver_request_total holds a quote or a comma.
func labels(text string) map[string]string {
	out := map[string]string{}
	for _, pair := range strings.Split(text, ",") {
		name, value, _ := strings.Cut(pair, "=")
		out[name] = strings.Trim(value, `"`)
	}
	return out
}
