package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// document is o as the API writes it, without the fields that only managers read.
func (k kind) document(o client.Object) (map[string]any, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, err
	}
	m["apiVersion"], m["kind"] = k.version, k.name
	delete(m["metadata"].(map[string]any), "managedFields")
	return m, nil
}

// reference is o as kubectl's -o name writes it: kind.group/name.
func (k kind) reference(o client.Object) string {
	group, _, _ := strings.Cut(k.version, "/")
	return strings.ToLower(k.name) + "." + group + "/" + o.GetName()
}

// encode prints names, one object for a name, and a v1 List otherwise.
func (g *getter) encode(name string, kinds []kind, found [][]client.Object) error {
	items := []any{}
	for i, k := range kinds {
		for _, o := range found[i] {
			if g.output == "name" {
				fmt.Fprintln(g.streams.Out, k.reference(o))
				continue
			}
			m, err := k.document(o)
			if err != nil {
				return err
			}
			items = append(items, m)
		}
	}
	var doc any = map[string]any{"apiVersion": "v1", "kind": "List", "metadata": map[string]any{}, "items": items}
	if name != "" && len(items) == 1 {
		doc = items[0]
	}
	switch g.output {
	case "name":
		return nil
	case "yaml":
		raw, err := yaml.Marshal(doc)
		if err != nil {
			return err
		}
		_, err = g.streams.Out.Write(raw)
		return err
	}
	enc := json.NewEncoder(g.streams.Out)
	enc.SetIndent("", "    ")
	enc.SetEscapeHTML(false)
	return enc.Encode(doc)
}

// statusSelector is what conditions must say: type in lower case → status.
type statusSelector map[string]metav1.ConditionStatus

func parseStatusSelector(pairs []string) (statusSelector, error) {
	s := statusSelector{}
	for _, p := range pairs {
		name, value, _ := strings.Cut(p, "=")
		status := map[string]metav1.ConditionStatus{"true": metav1.ConditionTrue, "false": metav1.ConditionFalse, "unknown": metav1.ConditionUnknown}[strings.ToLower(value)]
		if name == "" || status == "" {
			return nil, fmt.Errorf("--status-selector: %q is not CONDITION=true, false or unknown", p)
		}
		s[strings.ToLower(name)] = status
	}
	return s, nil
}

// match says whether all conditions hold. One that an object doesn't have is unknown, as in Flux.
func (s statusSelector) match(k kind, o client.Object) bool {
	_, conditions, _ := k.spec(o)
	for name, want := range s {
		have := metav1.ConditionUnknown
		for _, c := range conditions {
			if strings.EqualFold(c.Type, name) {
				have = c.Status
			}
		}
		if ready := apimeta.FindStatusCondition(conditions, "Ready"); name == "ready" && ready == nil {
			have = metav1.ConditionFalse // what the table shows of an object that nobody has looked at
		}
		if have != want {
			return false
		}
	}
	return true
}
