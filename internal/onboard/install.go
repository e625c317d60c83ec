package onboard

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/bootstrap"
	"github.com/sluice-gitops/sluice/internal/fault"
)

// Install applies the components, without any repository, and waits until the controller runs. With wait false it does
// not. Flux's source-controller serves the sources if o says so, or if the cluster has it and needs it.
func Install(ctx context.Context, c client.Client, o bootstrap.Options, replaceFlux, wait bool, say Say) error {
	if o.Namespace == "" {
		o.Namespace = bootstrap.DefaultNamespace
	}
	r := &Request{Client: c, Manifests: bootstrap.Repository{Components: o}, ReplaceFlux: replaceFlux, Say: say}
	found, err := sceneOf(ctx, c)
	if err != nil {
		return err
	}
	if o.FluxSources && found.source == nil {
		return &fault.Fault{Code: "SLU-KUBERNETES-036", Hop: fault.HopAPI, Object: "Deployment/" + o.Namespace + "/" + sourceController, Exit: fault.ExitNo,
			Seen: "Flux's source-controller, which is to serve the sources, is not there", Fix: "flux install --components=source-controller -n " + o.Namespace + ", and this command again"}
	}
	o.FluxSources = found.sources(o.FluxSources, replaceFlux) == bootstrap.SourcesFlux
	if o.FluxSources && found.kustomize != nil {
		if err := readable(ctx, c); err != nil {
			return err
		}
	}
	text, err := bootstrap.Components(o)
	if err != nil {
		return err
	}
	objects, err := parse(text)
	if err != nil {
		return err
	}
	if err := r.install(ctx, found, nil, stage(objects)); err != nil {
		return err
	}
	if !wait {
		return nil
	}
	say("◎", "verifying installation")
	if err := running(ctx, c, client.ObjectKey{Namespace: o.Namespace, Name: controller}); err != nil {
		return err
	}
	say("✔", "%s: deployment ready", controller)
	say("✔", "install finished")
	return nil
}

// running waits for a Deployment's rollout.
func running(ctx context.Context, c client.Client, key client.ObjectKey) error {
	for {
		var d appsv1.Deployment
		if err := c.Get(ctx, key, &d); err != nil && ctx.Err() == nil {
			return err
		}
		_, err := rolledOut(&d)
		if err == nil {
			return nil
		}
		if pause(ctx, 100*time.Millisecond) != nil {
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return ctx.Err()
			}
			f := (&sync{client: c, key: key, deployed: key}).late(err)
			return f
		}
	}
}

// parse reads a YAML stream of objects.
func parse(stream []byte) (objects []*unstructured.Unstructured, err error) {
	for d := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(stream), 4096); ; {
		o := &unstructured.Unstructured{}
		switch err := d.Decode(&o.Object); {
		case errors.Is(err, io.EOF):
			return objects, nil
		case err != nil:
			return nil, &fault.Fault{Code: "SLU-RENDER-031", Hop: fault.HopRender, Seen: "a manifest can't be read", Why: err.Error(), Err: err}
		}
		if len(o.Object) > 0 {
			objects = append(objects, o)
		}
	}
}
