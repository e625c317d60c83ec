package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

// bareWork is the floor under a first sync: the same objects, rendered and opened beforehand, applied by a client that does
// nothing else: no Git, no status, no inventory, no watch, no finalizer.
const bareWork = "the same objects applied by a bare client"

// bareObject is one request of it.
type bareObject struct {
	kind            schema.GroupVersionResource
	namespace, name string
	body            []byte
}

// bare applies what the workload's apps hold, under other Namespaces, sixteen at a time, as an Applier does.
func (s *scene) bare(ctx context.Context) (wall, apiCPU float64, err error) {
	var spaces, objects []bareObject
	for i := range s.work.apps {
		ns := "bare-" + appName(i)
		spaces = append(spaces, bareObject{namespaces, "", ns, []byte(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"` + ns + `"}}`)})
		list, err := s.work.plainObjects(i, ns)
		if err != nil {
			return 0, 0, err
		}
		objects = append(objects, list...)
	}
	cpu, err := s.serverCPU()
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	for _, list := range [][]bareObject{spaces, objects} {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(16)
		for _, o := range list {
			g.Go(func() error {
				_, err := s.api.Resource(o.kind).Namespace(o.namespace).Patch(ctx, o.name, types.ApplyPatchType, o.body,
					metav1.PatchOptions{FieldManager: "bare", Force: new(true)})
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return 0, 0, err
		}
	}
	wall = time.Since(began).Seconds()
	end, err := s.serverCPU()
	return wall, end - cpu, err
}

// plainObjects are the objects of app i but its Namespace, with the Secret in the clear.
func (w *workload) plainObjects(i int, ns string) ([]bareObject, error) {
	resources := map[string]schema.GroupVersionResource{
		"Deployment": {Group: "apps", Version: "v1", Resource: "deployments"}, "Service": {Version: "v1", Resource: "services"},
		"ConfigMap": configMaps, "ServiceAccount": {Version: "v1", Resource: "serviceaccounts"}, "Secret": secrets,
	}
	texts := []string{fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: secret}\ntype: Opaque\nstringData: {password: value-of-%d}\n", i)}
	for j := range w.objects - 2 {
		texts = append(texts, appObject(i, j))
	}
	var out []bareObject
	for _, text := range texts {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
			return nil, err
		}
		u.SetNamespace(ns)
		body, err := json.Marshal(u.Object)
		if err != nil {
			return nil, err
		}
		out = append(out, bareObject{resources[u.GetKind()], ns, u.GetName(), body})
	}
	return out, nil
}
