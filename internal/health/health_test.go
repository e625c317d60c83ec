package health

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gitops/sluice/internal/inventory"
)

func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(raw); err != nil { // the only decoder that keeps integers as kstatus wants them
		t.Fatal(err)
	}
	return u
}

func TestVerdictsFollowKstatus(t *testing.T) {
	for name, tt := range map[string]struct {
		object string
		want   State
		text   string
	}{
		"a ConfigMap is current at once": {`{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: b}}`, Current, ""},
		"a Deployment without status waits": {
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, namespace: b, generation: 1}, spec: {replicas: 1}}`, InProgress, "",
		},
		"a Deployment behind its generation waits": {
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, namespace: b, generation: 2}, spec: {replicas: 1},
			  status: {observedGeneration: 1, replicas: 1, readyReplicas: 1, updatedReplicas: 1, availableReplicas: 1}}`, InProgress, "eneration",
		},
		"a Deployment past its deadline failed": {
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, namespace: b, generation: 1}, spec: {replicas: 1},
			  status: {observedGeneration: 1, conditions: [{type: Progressing, status: "False", reason: ProgressDeadlineExceeded}]}}`, Failed, "deadline",
		},
		"a custom resource that is not ready waits": {
			`{apiVersion: example.com/v1, kind: Widget, metadata: {name: a, namespace: b, generation: 1},
			  status: {observedGeneration: 1, conditions: [{type: Ready, status: "False", reason: Broken, message: no power}]}}`, InProgress, "no power",
		},
		"an object being deleted terminates": {
			`{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: b, deletionTimestamp: "2026-01-01T00:00:00Z"}}`, Terminating, "",
		},
		"an unreadable status is unknown": {
			`{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, generation: 1}, spec: {replicas: x}, status: [1]}`, Unknown, "can't be read",
		},
	} {
		t.Run(name, func(t *testing.T) {
			u := object(t, tt.object)
			v := Of(inventory.IDOf(u), u)
			if v.State != tt.want || !strings.Contains(v.Message, tt.text) {
				t.Errorf("got %s %q, want %s …%s…", v.State, v.Message, tt.want, tt.text)
			}
		})
	}
}

func TestAMissingObjectIsNotFound(t *testing.T) {
	if v := Of(inventory.ID{Kind: "Job", Name: "x"}, nil); v.State != NotFound {
		t.Errorf("%+v", v)
	}
}

func TestSummaryNamesTheFailedObjectFirst(t *testing.T) {
	var verdicts []Verdict
	for i := range 10 {
		verdicts = append(verdicts, Verdict{ID: inventory.ID{Kind: "ConfigMap", Namespace: "apps", Name: fmt.Sprint("c", i)}, State: Current})
	}
	verdicts = append(verdicts,
		Verdict{ID: inventory.ID{Kind: "Deployment", Group: "apps", Namespace: "apps", Name: "web"}, State: InProgress, Message: "Replicas: 1/2"},
		Verdict{ID: inventory.ID{Kind: "Job", Group: "batch", Namespace: "apps", Name: "migrate"}, State: Failed, Message: "BackoffLimitExceeded"})
	s := Summarize(verdicts)
	want := "1 of 12 failed: Job/apps/migrate: BackoffLimitExceeded; 1 of 12 not ready: Deployment/apps/web is InProgress: Replicas: 1/2"
	if got := s.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if s.Healthy() {
		t.Error("healthy with a failed object")
	}
}

func TestSummaryOfHealthyObjectsCountsThem(t *testing.T) {
	if got := Summarize([]Verdict{{State: Current}, {State: Current}}).String(); got != "2 of 2 healthy" {
		t.Error(got)
	}
	if !Summarize(nil).Healthy() {
		t.Error("nothing to wait for is healthy")
	}
}

func TestSummaryOfManyNamesFiveAndCountsTheRest(t *testing.T) {
	var verdicts []Verdict
	for i := range 8 {
		verdicts = append(verdicts, Verdict{ID: inventory.ID{Kind: "Job", Name: fmt.Sprint("j", i)}, State: NotFound, Message: "does not exist"})
	}
	got := Summarize(verdicts).String()
	if !strings.HasPrefix(got, "8 of 8 not ready: Job/j0 is NotFound: does not exist, ") || !strings.HasSuffix(got, "Job/j4 is NotFound: does not exist and 3 more") {
		t.Error(got)
	}
}
