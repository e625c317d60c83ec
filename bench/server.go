package main

import (
	"bufio"
	"context"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/sluice-gitops/sluice/bench/lab"
)

// The kinds that are measured.
var (
	kustomizations  = schema.GroupVersionResource{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Resource: "kustomizations"}
	gitRepositories = schema.GroupVersionResource{Group: "source.toolkit.fluxcd.io", Version: "v1", Resource: "gitrepositories"}
	namespaces      = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	configMaps      = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	secrets         = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
)

// server is an API server whose requests are counted.
type server struct {
	*lab.Server
	api dynamic.Interface
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
	r := requests{own: s.Own.Load()}
	body, err := s.REST.Get().AbsPath("/metrics").DoRaw(ctx)
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
