package render

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/source"
)

// neighbour is a tenant whose patch sets an environment variable of one container: with the wrong schema, the list of
// containers is replaced instead of merged, and the image is gone.
func neighbour() Request {
	return Request{Tree: source.MapTree(map[string]string{
		"kustomization.yaml": "resources: [d.yaml]\npatches: [{path: p.yaml}]\n",
		"d.yaml":             "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {template: {spec: {containers: [{name: c, image: nginx}]}}}\n",
		"p.yaml":             "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {template: {spec: {containers: [{name: c, env: [{name: A, value: b}]}]}}}\n",
	})}
}

// intruder is a tenant that brings a schema of its own for Deployments.
func intruder(schema string) Request {
	return Request{Tree: source.MapTree(map[string]string{
		"kustomization.yaml": "openapi: {path: s.json}\nresources: [d.yaml]\npatches: [{path: p.yaml}]\n", "s.json": schema,
		"d.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {template: {spec: {containers: [{name: c, image: nginx}]}}}\n",
		"p.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {template: {spec: {containers: [{name: c}]}}}\n",
	})}
}

const hostile = `{"definitions":{"x":{"type":"object","x-kubernetes-group-version-kind":[{"group":"apps","kind":"Deployment","version":"v1"}]}}}`

func TestOneTenantsSchemaDoesNotReachTheNext(t *testing.T) {
	ctx := context.Background()
	before, err := Render(ctx, neighbour())
	if err != nil {
		t.Fatal(err)
	}
	want := objectsYAML(t, before)
	if !bytes.Contains(want, []byte("image: nginx")) {
		t.Fatalf("the scenario is wrong:\n%s", want)
	}
	own, err := Render(ctx, intruder(hostile))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(objectsYAML(t, own), []byte("image: nginx")) {
		t.Error("the schema had no effect on the tree that brings it; the test shows nothing")
	}
	if _, err := Render(ctx, intruder("[]")); fault.From(err) == nil {
		t.Errorf("malformed schema: %v", err)
	}
	after, err := Render(ctx, neighbour())
	if err != nil {
		t.Fatal(err)
	}
	if got := objectsYAML(t, after); !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestConcurrentRendersKeepTheirSchemas(t *testing.T) {
	ctx := context.Background()
	first, err := Render(ctx, neighbour())
	if err != nil {
		t.Fatal(err)
	}
	want := objectsYAML(t, first)
	var wg sync.WaitGroup
	fail := make(chan error, 100)
	for i := range 40 {
		wg.Go(func() {
			switch {
			case i%10 == 3:
				if _, err := Render(ctx, intruder(hostile)); err != nil {
					fail <- err
				}
			case i%10 == 7:
				if _, err := Render(ctx, intruder("[]")); err == nil {
					fail <- fmt.Errorf("a malformed schema was taken")
				}
			default:
				res, err := Render(ctx, neighbour())
				if err != nil {
					fail <- err
				} else if got := objectsYAML(t, res); !bytes.Equal(got, want) {
					fail <- fmt.Errorf("got\n%s", got)
				}
			}
		})
	}
	wg.Wait()
	close(fail)
	for err := range fail {
		t.Error(err)
	}
}
