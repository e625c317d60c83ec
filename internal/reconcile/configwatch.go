package reconcile

import (
	"context"
	"fmt"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

// indexConfig finds Kustomizations by the ConfigMaps and Secrets that they read.
const indexConfig = "sluice.config"

// configCache limits what is watched of ConfigMaps and Secrets to objects with the label that asks for it, on the server.
// Only metadata is watched, so no Secret's value is held.
func configCache(o Options, byObject map[client.Object]cache.ByObject) error {
	text := o.WatchConfigsLabelSelector
	if text == "" {
		text = meta.LabelKeyWatch + "=" + meta.LabelValueWatchEnabled
	}
	selector, err := labels.Parse(text)
	if err != nil {
		return fmt.Errorf("--watch-configs-label-selector: %w", err)
	}
	byObject[&corev1.ConfigMap{}] = cache.ByObject{Label: selector}
	byObject[&corev1.Secret{}] = cache.ByObject{Label: selector}
	return nil
}

// watchConfigs wakes Kustomizations when a watched ConfigMap or Secret that they read changes.
func (k *Kustomizations) watchConfigs(ctx context.Context, mgr ctrl.Manager, b *builder.Builder) error {
	if k.Options.Features.On(DisableConfigWatchers) {
		return nil
	}
	if err := mgr.GetFieldIndexer().IndexField(ctx, &Kustomization{}, indexConfig, indexByConfig); err != nil {
		return err
	}
	changed := builder.WithPredicates(predicate.ResourceVersionChangedPredicate{})
	b.WatchesMetadata(&corev1.ConfigMap{}, k.enqueueReaders("ConfigMap"), changed)
	b.WatchesMetadata(&corev1.Secret{}, k.enqueueReaders("Secret"), changed)
	return nil
}

// indexByConfig lists what a Kustomization reads, as "Kind/namespace/name".
func indexByConfig(o client.Object) (keys []string) {
	obj := o.(*Kustomization)
	add := func(kind, name string) { keys = append(keys, kind+"/"+obj.Namespace+"/"+name) }
	if d := obj.Spec.Decryption; d != nil && d.SecretRef != nil {
		add("Secret", d.SecretRef.Name)
	}
	if c := obj.Spec.KubeConfig; c != nil && c.SecretRef != nil {
		add("Secret", c.SecretRef.Name)
	}
	if c := obj.Spec.KubeConfig; c != nil && c.ConfigMapRef != nil {
		add("ConfigMap", c.ConfigMapRef.Name)
	}
	if p := obj.Spec.PostBuild; p != nil {
		for _, ref := range p.SubstituteFrom {
			add(ref.Kind, ref.Name)
		}
	}
	return keys
}

func (k *Kustomizations) enqueueReaders(kind string) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) (reqs []ctrl.Request) {
		var list KustomizationList
		key := kind + "/" + o.GetNamespace() + "/" + o.GetName()
		if err := k.List(ctx, &list, client.MatchingFields{indexConfig: key}); err != nil {
			k.Log.Error("list readers", "of", key, "error", err)
			return nil
		}
		for i := range list.Items {
			name := client.ObjectKeyFromObject(&list.Items[i])
			k.reconfigured.Store(name, true)
			reqs = append(reqs, ctrl.Request{NamespacedName: name})
		}
		return reqs
	})
}
