package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/md5"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/go-logr/logr"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sluice-gitops/sluice/bench/lab"
)

// served are the sources that stay with Flux's source-controller, with a chart whose source is the GitRepository.
var served = []string{"gitrepositories", "ocirepositories", "helmrepositories", "helmcharts", "buckets"}

func sourceKind(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "source.toolkit.fluxcd.io", Version: "v1", Resource: resource}
}

// TestSourceControllerServesOnWhileSluiceReplacesKustomizeController has Flux's real source-controller serve every kind
// of source throughout, while Flux, Sluice and Flux again apply what they hold.
func TestSourceControllerServesOnWhileSluiceReplacesKustomizeController(t *testing.T) {
	ctrllog.SetLogger(logr.Discard())
	began := time.Now()
	b := newBeside(t)
	for kind, objects := range b.sources() {
		if len(objects) == 0 {
			t.Fatalf("no %s", kind)
		}
	}
	applied, sources := b.applied(), b.sources()
	h := b.takeOver("sluice", "--git-repositories=read", "--sops-policy=enforce")
	if now := b.applied(); !maps.Equal(now, applied) {
		t.Errorf("revision and inventory were\n%v\nand are\n%v", applied, now)
	}
	for kind, was := range sources {
		if now := b.sources()[kind]; !maps.Equal(now, was) {
			t.Errorf("the %s were written: %v, then %v", kind, was, now)
		}
	}

	// A commit and a push come through source-controller, and are applied.
	app := b.work.apps - 1
	revision, err := b.work.edit(t.Context(), app, "by-source-controller")
	b.must(err)
	b.must(b.ask(t.Context(), gitRepositories, "apps", "commit"))
	b.must(b.report(t.Context(), revision))
	b.level(appName(app), "config-2", "by-source-controller")
	b.push("second")
	b.must(b.ask(t.Context(), sourceKind("ocirepositories"), "oci", "push"))
	b.level("app-oci", "from-oci", "second")
	b.store["oci.yaml"] = ociApp("app-bucket", "third")
	b.must(b.ask(t.Context(), sourceKind("buckets"), "bucket", "put"))
	b.level("app-bucket", "from-oci", "third")

	back := b.takeOver("kustomize-controller")
	for _, h := range []handOver{h, back} {
		if len(h.written)+len(h.pruned) > 0 || h.requests > 0 {
			t.Errorf("%v write requests; written: %v; pruned: %v", h.requests, h.written, h.pruned)
		}
	}
	if now, want := b.applied()["app-0000"], revision; !strings.Contains(now, want) {
		t.Errorf("back with Flux, app-0000 is %s, want %s", now, want)
	}
	t.Logf("%d objects there and back in %.0f s", h.objects, time.Since(began).Seconds())
}

// beside is a scene in which source-controller is no part of the engine.
type beside struct {
	*scene
	t        *testing.T
	o        *options
	dir      string
	registry string            // host:port
	store    map[string]string // objects of the bucket
}

func newBeside(t *testing.T) *beside {
	t.Helper()
	bin, err := filepath.Abs("bin")
	if err != nil {
		t.Fatal(err)
	}
	b := &beside{t: t, o: &options{bin: bin, temp: t.TempDir(), main: "..", apps: 8, objects: 8}, dir: t.TempDir()}
	ctx := t.Context()
	w, err := newWorkload(ctx, b.dir, b.o.apps, b.o.objects)
	b.must(err)
	b.chartAndRules(w)
	flux, err := b.o.crds(ctx, "flux")
	b.must(err)
	b.scene, err = newScene(ctx, b.o, b.dir, w, flux...)
	if b.scene != nil {
		t.Cleanup(b.close)
	}
	b.must(err)
	b.artifacts, err = lab.FreeAddress()
	b.must(err)
	p, err := lab.StartPeer(ctx, "source-controller", lab.Setup{Bin: bin, Dir: filepath.Join(b.dir, "source"), Kubeconfig: b.Kubeconfig, Storage: b.artifacts})
	b.must(err)
	t.Cleanup(p.Stop)
	b.must(b.start(ctx, "kustomize-controller", bin, filepath.Join(b.dir, "flux"), lookOften))
	revision, err := w.head(ctx)
	b.must(err)
	_, err = b.firstSync(ctx, revision)
	b.must(err)
	b.others()
	return b
}

func (b *beside) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// chartAndRules adds a chart to the repository, and its .sops.yaml, which source-controller leaves out unless told.
func (b *beside) chartAndRules(w *workload) {
	b.t.Helper()
	id, err := age.ParseX25519Identity(w.identity)
	b.must(err)
	for path, text := range map[string]string{
		"charts/demo/Chart.yaml":              "apiVersion: v2\nname: demo\nversion: 0.1.0\n",
		"charts/demo/templates/configmap.yml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: demo\n",
		".sourceignore":                       "!.sops.yaml\n",
		".sops.yaml":                          "creation_rules:\n  - encrypted_regex: ^(data|stringData)$\n    age: " + id.Recipient().String() + "\n",
	} {
		file := filepath.Join(w.dir, path)
		b.must(os.MkdirAll(filepath.Dir(file), 0o755))
		b.must(os.WriteFile(file, []byte(text), 0o644))
	}
	_, err = w.commit(b.t.Context(), "chart and rules")
	b.must(err)
}

// others creates the sources that Sluice doesn't serve, with a Kustomization for each kind that can have one.
func (b *beside) others() {
	b.t.Helper()
	ctx := b.t.Context()
	images := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	b.t.Cleanup(images.Close)
	b.registry = strings.TrimPrefix(images.URL, "http://")
	b.push("first")
	charts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "apiVersion: v1\nentries:\n  demo:\n  - apiVersion: v2\n    name: demo\n    version: 0.1.0\n    urls: [demo-0.1.0.tgz]\n")
	}))
	b.t.Cleanup(charts.Close)
	b.store = map[string]string{"oci.yaml": ociApp("app-bucket", "first")}
	objects := httptest.NewServer(http.HandlerFunc(b.bucket))
	b.t.Cleanup(objects.Close)
	for resource, o := range map[string]map[string]any{
		"ocirepositories": {"kind": "OCIRepository", "metadata": map[string]any{"name": "oci"},
			"spec": map[string]any{"interval": quiet, "insecure": true, "url": "oci://" + b.registry + "/app", "ref": map[string]any{"tag": "latest"}}},
		"helmrepositories": {"kind": "HelmRepository", "metadata": map[string]any{"name": "charts"},
			"spec": map[string]any{"interval": quiet, "url": charts.URL}},
		"helmcharts": {"kind": "HelmChart", "metadata": map[string]any{"name": "demo"},
			"spec": map[string]any{"interval": quiet, "chart": "./charts/demo", "sourceRef": map[string]any{"kind": "GitRepository", "name": "apps"}}},
		"buckets": {"kind": "Bucket", "metadata": map[string]any{"name": "bucket"},
			"spec": map[string]any{"interval": quiet, "insecure": true, "bucketName": "store", "endpoint": strings.TrimPrefix(objects.URL, "http://")}},
	} {
		b.must(b.create(ctx, sourceKind(resource), home, o))
	}
	for name, kind := range map[string]string{"oci": "OCIRepository", "bucket": "Bucket"} {
		b.must(b.create(ctx, kustomizations, home, map[string]any{"kind": "Kustomization", "metadata": map[string]any{"name": "app-" + name},
			"spec": map[string]any{"interval": quiet, "path": "./", "prune": true, "sourceRef": map[string]any{"kind": kind, "name": name}}}))
		b.level("app-"+name, "from-oci", "first")
	}
	for _, resource := range served {
		b.must(lab.Poll(ctx, time.Minute, func() error {
			list, err := b.api.Resource(sourceKind(resource)).Namespace(home).List(ctx, metav1.ListOptions{})
			if err != nil {
				return err
			}
			for _, o := range list.Items {
				if v := verdictOf(&o); v.ready != "True" {
					return fmt.Errorf("%s %s: Ready=%s %s", resource, o.GetName(), v.ready, v.message)
				}
			}
			return nil
		}))
	}
	b.must(lab.Poll(ctx, time.Minute, func() error {
		for name, v := range b.applied() {
			if strings.HasPrefix(v, " ") {
				return fmt.Errorf("%s has applied nothing yet", name)
			}
		}
		return nil
	}))
	b.must(b.settle(ctx))
}

// ociApp is what the artifacts of the other sources hold.
func ociApp(ns, level string) string {
	return "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: " + ns + "\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: from-oci\n  namespace: " + ns + "\ndata:\n  level: " + level + "\n"
}

// push makes an artifact the latest, as `flux push artifact` does.
func (b *beside) push(level string) {
	b.t.Helper()
	var layer bytes.Buffer
	zip := gzip.NewWriter(&layer)
	to := tar.NewWriter(zip)
	text := ociApp("app-oci", level)
	b.must(to.WriteHeader(&tar.Header{Name: "oci.yaml", Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}))
	_, err := to.Write([]byte(text))
	b.must(err)
	b.must(to.Close())
	b.must(zip.Close())
	image, err := mutate.AppendLayers(empty.Image, static.NewLayer(layer.Bytes(), "application/vnd.cncf.flux.content.v1.tar+gzip"))
	b.must(err)
	ref, err := name.ParseReference(b.registry+"/app:latest", name.Insecure)
	b.must(err)
	b.must(remote.Write(ref, image))
}

// bucket answers as an S3 server does to those who read anonymously.
func (b *beside) bucket(w http.ResponseWriter, r *http.Request) {
	key, isObject := strings.CutPrefix(r.URL.Path, "/store/")
	text, there := b.store[key]
	etag := func(text string) string { return fmt.Sprintf("%x", md5.Sum([]byte(text))) }
	switch {
	case r.URL.Query().Has("location"):
		_, _ = io.WriteString(w, `<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></LocationConstraint>`)
	case !isObject || key == "":
		_, _ = io.WriteString(w, `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>store</Name><IsTruncated>false</IsTruncated>`)
		for _, k := range slices.Sorted(maps.Keys(b.store)) {
			fmt.Fprintf(w, "<Contents><Key>%s</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;%s&quot;</ETag><Size>%d</Size></Contents>", k, etag(b.store[k]), len(b.store[k]))
		}
		_, _ = io.WriteString(w, "</ListBucketResult>")
	case !there:
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>")
	default:
		w.Header().Set("ETag", `"`+etag(text)+`"`)
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
		w.Header().Set("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
		if r.Method != http.MethodHead {
			_, _ = io.WriteString(w, text)
		}
	}
}

// takeOver replaces whoever applies, and leaves source-controller alone. Sluice brings the definition of Kustomizations.
func (b *beside) takeOver(to string, flags ...string) handOver {
	b.t.Helper()
	crds, err := b.o.crds(b.t.Context(), "flux")
	b.must(err)
	crds = crds[:1] // kustomize-controller's
	if to == "sluice" {
		text, err := os.ReadFile(filepath.Join(b.o.main, "internal", "crds", "crds.yaml"))
		b.must(err)
		docs := slices.DeleteFunc(strings.Split(string(text), "---\n"), func(d string) bool { return !strings.Contains(d, "kind: Kustomization\n") })
		crds = []string{filepath.Join(b.dir, "kustomizations.yaml")}
		b.must(os.WriteFile(crds[0], []byte(strings.Join(docs, "---\n")), 0o644))
	}
	h, err := b.scene.takeOver(b.t.Context(), b.o, to, filepath.Join(b.dir, "then-"+to), crds, flags...)
	b.must(err)
	return h
}

// applied is the revision and the inventory of each Kustomization.
func (b *beside) applied() map[string]string {
	b.t.Helper()
	list, err := b.api.Resource(kustomizations).Namespace(home).List(b.t.Context(), metav1.ListOptions{})
	b.must(err)
	all := map[string]string{}
	for _, o := range list.Items {
		entries, _, _ := unstructured.NestedSlice(o.Object, "status", "inventory", "entries")
		var ids []string
		for _, e := range entries {
			id, err := json.Marshal(e)
			b.must(err)
			ids = append(ids, string(id))
		}
		slices.Sort(ids)
		all[o.GetName()] = verdictOf(&o).revision + " " + strings.Join(ids, " ")
	}
	return all
}

// sources are the resource versions of the sources, by kind.
func (b *beside) sources() map[string]map[string]string {
	b.t.Helper()
	all := map[string]map[string]string{}
	for _, resource := range served {
		list, err := b.api.Resource(sourceKind(resource)).Namespace(home).List(b.t.Context(), metav1.ListOptions{})
		b.must(err)
		all[resource] = map[string]string{}
		for _, o := range list.Items {
			all[resource][o.GetName()] = o.GetResourceVersion()
		}
	}
	return all
}

// level waits until a ConfigMap holds a level.
func (b *beside) level(ns, name, want string) {
	b.t.Helper()
	b.must(lab.Poll(context.WithoutCancel(b.t.Context()), time.Minute, func() error {
		o, err := b.api.Resource(configMaps).Namespace(ns).Get(b.t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if got, _, _ := unstructured.NestedString(o.Object, "data", "level"); got != want {
			return fmt.Errorf("%s/%s is at %q, want %q", ns, name, got, want)
		}
		return nil
	}))
}
