package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"github.com/sluice-gitops/sluice/internal/testkit"
)

type watched struct {
	Type   string
	Object struct {
		Metadata struct{ Name, Namespace string }
		Spec     struct{ Suspend bool }
	}
}

func lines(t *testing.T, ndjson string) (events []watched) {
	t.Helper()
	for _, l := range strings.Split(strings.TrimSpace(ndjson), "\n") {
		var e watched
		if l == "" {
			continue
		}
		if err := json.Unmarshal([]byte(l), &e); err != nil {
			t.Fatalf("%v: %q", err, l)
		}
		events = append(events, e)
	}
	return events
}

func TestAWatchReconnectsAndShowsWhatItMissedOnce(t *testing.T) {
	r := newRoom(t)
	door := r.door()
	r.kustomization("apps", func(k *kustomizev1.Kustomization) { k.Status.Conditions = condition("True", "Applied") })
	gone := r.kustomization("gone", nil)
	out, errs, end := r.background("get", "ks", "-w", "-o", "json")
	seen := func(want string) {
		t.Helper()
		testkit.Eventually(t, 20*time.Second, func() error {
			var got []string
			for _, e := range lines(t, out.String()) {
				got = append(got, fmt.Sprintf("%s %s %v", e.Type, e.Object.Metadata.Name, e.Object.Spec.Suspend))
			}
			if text := strings.Join(got, ", "); text != want {
				return fmt.Errorf("got %s, want %s; stderr %s", text, want, errs)
			}
			return nil
		})
	}
	first := "ADDED apps false, ADDED gone false"
	seen(first)
	door.CloseClientConnections()
	if err := r.client.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	if _, _, code := r.run("suspend", "ks", "apps"); code != 0 {
		t.Fatal("suspend failed")
	}
	testkit.Eventually(t, 20*time.Second, func() error {
		got := lines(t, out.String())
		deleted, suspended := 0, 0
		for _, e := range got {
			if e.Type == "DELETED" && e.Object.Metadata.Name == "gone" {
				deleted++
			}
			if e.Type == "MODIFIED" && e.Object.Spec.Suspend {
				suspended++
			}
		}
		if deleted != 1 || suspended != 1 || len(got) != 4 {
			return fmt.Errorf("%d events: %d deletions, %d suspensions", len(got), deleted, suspended)
		}
		return nil
	})
	if code := end(); code != 0 {
		t.Errorf("an interrupted watch ends with %d: %s", code, errs)
	}
}

func TestAWatchedTableHasOneHeaderAndShowsDeletions(t *testing.T) {
	r := newRoom(t)
	k := r.kustomization("apps", func(k *kustomizev1.Kustomization) { k.Status.Conditions = condition("True", "Applied") })
	out, _, end := r.background("get", "all", "-w")
	testkit.Eventually(t, 20*time.Second, func() error {
		if !strings.Contains(out.String(), "kustomization/apps") {
			return fmt.Errorf("got %q", out)
		}
		return nil
	})
	if err := r.client.Delete(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 20*time.Second, func() error {
		if !strings.Contains(out.String(), "deleted") {
			return fmt.Errorf("got %q", out)
		}
		return nil
	})
	end()
	if n := strings.Count(out.String(), "MESSAGE"); n != 1 {
		t.Errorf("%d headers in\n%s", n, out)
	}
}

func TestGetSelectsByLabelAndStatusAndNamesSources(t *testing.T) {
	r := newRoom(t)
	r.kustomization("good", func(k *kustomizev1.Kustomization) {
		k.Labels, k.Status.Conditions = map[string]string{"team": "a"}, condition("True", "Applied")
	})
	r.kustomization("bad", func(k *kustomizev1.Kustomization) {
		k.Labels, k.Status.Conditions = map[string]string{"team": "a"}, condition("False", "broken")
	})
	r.kustomization("new", nil)
	for _, tt := range []struct {
		args string
		want string
	}{
		{"get ks -o name", "bad good new"},
		{"get ks -o name -l team=a", "bad good"},
		{"get ks -o name --status-selector ready=false", "bad new"},
		{"get ks -o name --status-selector Ready=True -l team=a", "good"},
		{"get ks -o name --status-selector healthy=unknown", "bad good new"},
	} {
		out, errs, code := r.run(strings.Fields(tt.args)...)
		got := strings.Join(strings.Fields(strings.ReplaceAll(out, "kustomization.kustomize.toolkit.fluxcd.io/", "")), " ")
		if code != 0 || got != tt.want {
			t.Errorf("%s: exit %d, %q, want %q; %s", tt.args, code, got, tt.want, errs)
		}
	}
	out, _, code := r.run("get", "ks", "good", "--show-source")
	if code != 0 || !strings.Contains(out, "SOURCE") || !strings.Contains(out, "GitRepository/app") {
		t.Errorf("exit %d: %s", code, out)
	}
	if _, errs, code := r.run("get", "ks", "--status-selector", "ready=maybe"); code != 2 || !strings.Contains(errs, "ready=maybe") {
		t.Errorf("exit %d: %s", code, errs)
	}
	if _, _, code := r.run("get", "ks", "-l", "team=b"); code != 1 {
		t.Errorf("nothing to show is exit code %d", code)
	}
}
