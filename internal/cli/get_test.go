package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/sluice-gitops/sluice/internal/fault"
)

var update = flag.Bool("update", false, "rewrite golden files")

const hash = "0123456789abcdef0123456789abcdef01234567"

func condition(status metav1.ConditionStatus, message string) []metav1.Condition {
	return []metav1.Condition{{Type: meta.ReadyCondition, Status: status, Reason: "R", Message: message}}
}

func objects() []client.Object {
	repo := &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "flux-system", Name: "flux-system"}}
	repo.Status.Artifact = &meta.Artifact{Revision: "main@sha1:" + hash}
	repo.Status.Conditions = condition(metav1.ConditionTrue, "stored artifact for revision 'main@sha1:"+hash+"'")
	apps := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "flux-system", Name: "apps"}}
	apps.Status.LastAppliedRevision = "main@sha1:" + hash
	apps.Status.Conditions = condition(metav1.ConditionFalse, "entra: AADSTS700213: no match\nfor the subject; fix: az identity …")
	fresh := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "fresh"}}
	fresh.Spec.Suspend = true
	return []client.Object{repo, apps, fresh}
}

func reader(objs ...client.Object) client.WithWatch {
	return fake.NewClientBuilder().WithScheme(scheme()).WithObjects(objs...).WithStatusSubresource(objs...).Build()
}

func shown(t *testing.T, g *getter, name string, c client.Reader, kinds ...kind) (string, error) {
	t.Helper()
	var out bytes.Buffer
	g.streams = Streams{Out: &out, Err: &out, Env: func(string) string { return "" }}
	if g.kube.namespace == "" {
		g.kube.namespace = "flux-system"
	}
	if g.output == "" {
		g.output = "table"
	}
	err := g.show(context.Background(), c, name, kinds...)
	return out.String(), err
}

func TestTablesAreFluxs(t *testing.T) {
	for name, tt := range map[string]struct {
		get   getter
		name  string
		kinds []kind
	}{
		"all":            {getter{all: true}, "", []kind{gitRepositories, kustomizations}},
		"kustomizations": {getter{}, "", []kind{kustomizations}},
		"no-header":      {getter{noHeader: true}, "apps", []kind{kustomizations}},
		"sources-git":    {getter{}, "flux-system", []kind{gitRepositories}},
		"yaml":           {getter{output: "yaml"}, "", []kind{kustomizations}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := shown(t, &tt.get, tt.name, reader(objects()...), tt.kinds...)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", "get-"+name+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestGettingNothingIsExitCodeOne(t *testing.T) {
	for _, tt := range []struct {
		get  getter
		name string
		want string
	}{
		{getter{}, "nosuch", `Kustomization object 'nosuch' not found in "flux-system" namespace`},
		{getter{kube: kubeFlags{namespace: "empty"}}, "", `no Kustomization objects found in "empty" namespace`},
		{getter{all: true}, "", "no Kustomization objects found in any namespace"},
	} {
		objs := objects()
		if tt.get.all {
			objs = objs[:1]
		}
		out, err := shown(t, &tt.get, tt.name, reader(objs...), kustomizations)
		if out != "" || fault.ExitCode(err) != fault.ExitNo || fault.From(err).Seen != tt.want {
			t.Errorf("printed %q, error %v (exit %d), want %q", out, err, fault.ExitCode(err), tt.want)
		}
	}
}

func TestJSONIsAListOrTheNamedObjectWithoutManagedFields(t *testing.T) {
	list, err := shown(t, &getter{output: "json"}, "", reader(objects()...), kustomizations)
	if err != nil {
		t.Fatal(err)
	}
	var l struct {
		APIVersion, Kind string
		Items            []struct{ APIVersion, Kind string }
	}
	if err := json.Unmarshal([]byte(list), &l); err != nil || l.APIVersion != "v1" || l.Kind != "List" || len(l.Items) != 1 || l.Items[0].Kind != "Kustomization" {
		t.Errorf("%v\n%s", err, list)
	}
	one, err := shown(t, &getter{output: "json"}, "apps", reader(objects()...), kustomizations)
	if err != nil || !strings.Contains(one, `"kind": "Kustomization"`) || strings.Contains(one, `"List"`) || strings.Contains(one, "managedFields") {
		t.Errorf("%v\n%s", err, one)
	}
}

func TestShortHashesCutsCommitsAndDigestsOnly(t *testing.T) {
	for in, want := range map[string]string{
		"main@sha1:" + hash:                  "main@sha1:01234567",
		"sha256:" + hash + hash[:24]:         "sha256:01234567",
		"v1.2.3":                             "v1.2.3",
		"feature/0123456789abcdef":           "feature/0123456789abcdef",
		hash + "0":                           hash + "0",
		"from " + hash + " to " + hash + ".": "from 01234567 to 01234567.",
	} {
		if got := shortHashes(in); got != want {
			t.Errorf("shortHashes(%q) = %q, want %q", in, got, want)
		}
	}
}
