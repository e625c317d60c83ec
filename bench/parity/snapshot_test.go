package parity

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// view is what an engine has left behind: path → value, with everything taken out that may differ between any two
// runs of the same engine.
type view map[string]string

// listed are the kinds whose objects are compared, besides those that an inventory names.
var listed = []schema.GroupVersionResource{
	{Version: "v1", Resource: "configmaps"}, {Version: "v1", Resource: "secrets"}, {Version: "v1", Resource: "serviceaccounts"},
	{Version: "v1", Resource: "services"}, {Version: "v1", Resource: "namespaces"},
	{Group: "apps", Version: "v1", Resource: "deployments"}, {Group: "batch", Version: "v1", Resource: "jobs"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "roles"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "rolebindings"},
	{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"},
	{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"},
	{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Resource: "kustomizations"},
	{Group: "source.toolkit.fluxcd.io", Version: "v1", Resource: "gitrepositories"},
}

// look takes a view of the fixture's objects.
func (p *play) look(ctx context.Context, w *world) (view, error) {
	v := view{}
	for _, kind := range listed {
		list, err := w.API.Resource(kind).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			if o := &list.Items[i]; p.mine(o) {
				v.object(o)
			}
			if o := &list.Items[i]; kind.Resource == "kustomizations" && p.mine(o) {
				if err := p.inventoried(ctx, w, o, v); err != nil {
					return nil, err
				}
			}
			if o := &list.Items[i]; kind.Resource == "gitrepositories" && p.mine(o) {
				if err := v.artifact(o); err != nil {
					return nil, err
				}
			}
		}
	}
	if err := p.events(ctx, w, v); err != nil {
		return nil, err
	}
	neutral := strings.NewReplacer(p.host.URL+"/"+w.name, "GIT", w.artifacts, "ARTIFACTS", strings.TrimPrefix(w.Config.Host, "https://"), "APISERVER")
	for path, value := range v {
		v[path] = neutral.Replace(value)
	}
	return v, nil
}

// mine tells whether an object belongs to the fixture.
func (p *play) mine(o *unstructured.Unstructured) bool {
	of := o.GetNamespace()
	if of == "" {
		of = o.GetName()
		if o.GetKind() == "CustomResourceDefinition" && strings.HasSuffix(of, "."+p.name+".example.com") {
			return true
		}
	}
	return of == p.ns || strings.HasPrefix(of, p.ns+"--")
}

// inventoried adds the custom objects of an inventory.
func (p *play) inventoried(ctx context.Context, w *world, k *unstructured.Unstructured, v view) error {
	entries, _, _ := unstructured.NestedSlice(k.Object, "status", "inventory", "entries")
	for _, e := range entries {
		id, version := fmt.Sprint(e.(map[string]any)["id"]), fmt.Sprint(e.(map[string]any)["v"])
		parts := strings.Split(id, "_")
		if len(parts) != 4 || !strings.HasSuffix(parts[2], "example.com") {
			continue
		}
		o := &unstructured.Unstructured{}
		o.SetGroupVersionKind(schema.GroupVersionKind{Group: parts[2], Version: version, Kind: parts[3]})
		client, err := w.of(o, parts[0])
		if err != nil {
			return err
		}
		live, err := client.Get(ctx, parts[1], metav1.GetOptions{})
		if err != nil {
			return err
		}
		v.object(live)
	}
	return nil
}

// perRun are fields whose values no two runs share.
var perRun = [][]string{
	{"metadata", "uid"}, {"metadata", "resourceVersion"}, {"metadata", "creationTimestamp"}, {"metadata", "managedFields"},
	{"spec", "clusterIP"}, {"spec", "clusterIPs"}, {"metadata", "selfLink"},
}

func (v view) object(o *unstructured.Unstructured) {
	ours := strings.HasSuffix(o.GroupVersionKind().Group, ".toolkit.fluxcd.io")
	at := o.GetKind() + "/" + o.GetName()
	if ns := o.GetNamespace(); ns != "" && !ours {
		at = o.GetKind() + "/" + ns + "/" + o.GetName()
	}
	for _, m := range o.GetManagedFields() {
		fields := ""
		if m.FieldsV1 != nil && !ours {
			fields = m.FieldsV1.GetRawString()
		}
		v[fmt.Sprintf("%s/managedFields/%s/%s/%s", at, m.Manager, m.Operation, m.Subresource)] += fields
	}
	o = o.DeepCopy()
	for _, path := range perRun {
		unstructured.RemoveNestedField(o.Object, path...)
	}
	if o.GetDeletionTimestamp() != nil {
		v[at+"/metadata/deletionTimestamp"] = "set"
		unstructured.RemoveNestedField(o.Object, "metadata", "deletionTimestamp")
	}
	if ours {
		v.status(at, o)
		unstructured.RemoveNestedField(o.Object, "status")
		unstructured.RemoveNestedField(o.Object, "spec")
	}
	for k, value := range o.Object {
		v.leaf(at+"/"+k, value)
	}
}

// leaf adds the leaves of a value, each under its path.
func (v view) leaf(at string, value any) {
	switch value := value.(type) {
	case map[string]any:
		for k, x := range value {
			if k == "lastTransitionTime" || k == "lastUpdateTime" || strings.HasSuffix(k, "controller-uid") {
				continue
			}
			v.leaf(at+"/"+k, x)
		}
	case []any:
		for i, x := range value {
			v.leaf(fmt.Sprint(at, "/", i), x)
		}
	default:
		data, err := json.Marshal(value)
		if err != nil {
			data = fmt.Append(nil, value)
		}
		v[at] = timeless(string(data))
	}
}

// status adds the status of a Flux object: conditions by type, history by shape, the rest as it is.
func (v view) status(at string, o *unstructured.Unstructured) {
	status, _, _ := unstructured.NestedMap(o.Object, "status")
	at += "/status"
	for key, value := range status {
		switch key {
		case "conditions":
			for _, c := range value.([]any) {
				c := c.(map[string]any)
				kind := fmt.Sprintf("%s/%s/%s", at, key, c["type"])
				v[kind] = fmt.Sprintf("%v %v of generation %v", c["status"], c["reason"], c["observedGeneration"])
				v[fmt.Sprintf("%s/%v:%v/message", kind, c["status"], c["reason"])] = timeless(fmt.Sprint(c["message"]))
			}
		case "history":
			for i, h := range value.([]any) {
				h := h.(map[string]any)
				v[fmt.Sprint(at, "/history/", i)] = fmt.Sprintf("%v %v, digest %v", h["lastReconciledStatus"], h["metadata"],
					strings.HasPrefix(fmt.Sprint(h["digest"]), "sha256:"))
			}
		case "inventory":
			entries, _, _ := unstructured.NestedSlice(status, "inventory", "entries")
			var ids []string
			for _, e := range entries {
				e := e.(map[string]any)
				ids = append(ids, fmt.Sprintf("%v %v", e["id"], e["v"]))
			}
			v[at+"/inventory"] = strings.Join(ids, ", ")
		case "artifact":
			v.leaf(at+"/artifact", withoutDigest(value))
		case "includedArtifacts":
			for i, a := range value.([]any) {
				v.leaf(fmt.Sprint(at, "/includedArtifacts/", i), withoutDigest(a))
			}
		default:
			v.leaf(at+"/"+key, value)
		}
	}
}

// withoutDigest replaces the digest and size of an artifact by their shapes: two archives of the same files need not
// be the same bytes.
func withoutDigest(artifact any) map[string]any {
	a := artifact.(map[string]any)
	digest, _, _ := strings.Cut(fmt.Sprint(a["digest"]), ":")
	a["digest"] = digest
	size, _ := a["size"].(int64)
	a["size"] = size > 0
	return a
}

// artifact fetches what a GitRepository serves, and lists it.
func (v view) artifact(o *unstructured.Unstructured) error {
	url, ok, _ := unstructured.NestedString(o.Object, "status", "artifact", "url")
	if !ok {
		return nil
	}
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	zip, err := gzip.NewReader(resp.Body)
	if err != nil {
		return err
	}
	for files := tar.NewReader(zip); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, files); err != nil {
			return err
		}
		v[fmt.Sprintf("GitRepository/%s/archive/%s", o.GetName(), strings.TrimSuffix(h.Name, "/"))] = fmt.Sprintf("%c %o %d %q %x", h.Typeflag, h.Mode, h.Size, h.Linkname, sum.Sum(nil)[:6])
	}
}

// events adds the Kubernetes events of the fixture's objects: the set of messages, line by line, and of the values of
// each annotation, by regarding object, type and reason.
func (p *play) events(ctx context.Context, w *world, v view) error {
	list, err := w.API.Resource(schema.GroupVersionResource{Version: "v1", Resource: "events"}).Namespace(p.ns).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	sets := map[string]map[string]bool{}
	add := func(path, value string) {
		if sets[path] == nil {
			sets[path] = map[string]bool{}
		}
		sets[path][value] = true
	}
	for _, e := range list.Items {
		field := func(path ...string) string { s, _, _ := unstructured.NestedString(e.Object, path...); return s }
		at := fmt.Sprintf("Event/%s/%s/%s/%s", field("involvedObject", "kind"), field("involvedObject", "name"), field("type"), field("reason"))
		for _, line := range strings.Split(timeless(field("message")), "\n") {
			add(at+"/message", line)
		}
		for _, path := range [][]string{{"source", "component"}, {"reportingComponent"}, {"involvedObject", "apiVersion"}, {"involvedObject", "namespace"}} {
			add(at+"/"+strings.Join(path, "."), field(path...))
		}
		for k, value := range e.GetAnnotations() {
			if strings.HasSuffix(k, "/digest") {
				value, _, _ = strings.Cut(value, ":")
			}
			add(at+"/annotations/"+k, value)
		}
	}
	for path, set := range sets {
		var values []string
		for value := range set {
			values = append(values, value)
		}
		slices.Sort(values)
		v[path] = strings.Join(values, "\n")
	}
	return nil
}

var (
	instant  = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)`)
	duration = regexp.MustCompile(`\b(\d+(\.\d+)?(ns|µs|ms|s|m|h))+\b`)
	folder   = regexp.MustCompile(`/tmp/[A-Za-z0-9/_.-]*kustomization-\d+`)
)

// timeless takes times, durations and temp folders out of a text.
func timeless(text string) string {
	return folder.ReplaceAllString(duration.ReplaceAllString(instant.ReplaceAllString(text, "TIME"), "DURATION"), "TEMP")
}

// ready is what a Ready condition says, and what else of the status a wait asks for.
type ready struct {
	status, reason, message string
	generation              int64
	revision, handled       string
}

func readyOf(o *unstructured.Unstructured) (r ready) {
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range conditions {
		if c, ok := c.(map[string]any); ok && c["type"] == "Ready" {
			r.status, r.reason, r.message = fmt.Sprint(c["status"]), fmt.Sprint(c["reason"]), fmt.Sprint(c["message"])
			r.generation, _ = c["observedGeneration"].(int64)
		}
	}
	r.handled, _, _ = unstructured.NestedString(o.Object, "status", "lastHandledReconcileAt")
	r.revision, _, _ = unstructured.NestedString(o.Object, "status", "lastAppliedRevision")
	if o.GetKind() == "GitRepository" {
		r.revision, _, _ = unstructured.NestedString(o.Object, "status", "artifact", "revision")
	}
	return r
}
