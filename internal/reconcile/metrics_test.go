package reconcile

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gitops/sluice/internal/testkit"
)

// scrape reads the metrics endpoint of the world's controller: what Prometheus would get.
func scrape(t *testing.T, addr string) []string {
	t.Helper()
	res, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(body), "\n")
}

var labelNames = regexp.MustCompile(`([a-z_]+)="[^"]*"`)

// shapes is each family of ours or of Flux's with its labels, without values.
func shapes(lines []string) []string {
	var out []string
	for _, l := range lines {
		if !strings.HasPrefix(l, "gotk_") && !strings.HasPrefix(l, "sluice_") {
			continue
		}
		name, rest, _ := strings.Cut(l, "{")
		if rest == "" {
			name, _, _ = strings.Cut(l, " ")
		}
		var labels []string
		for _, m := range labelNames.FindAllStringSubmatch(rest, -1) {
			labels = append(labels, m[1])
		}
		out = append(out, name+"("+strings.Join(labels, ",")+")")
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func TestMetricsHaveFluxsNamesAndLabelsAndNoSecret(t *testing.T) {
	w := newWorld(t)
	w.stop()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.options.MetricsAddr = l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	w.start()
	seal := w.ageKey("keys")
	w.push(map[string]string{"a/one.yaml": seal("apiVersion: v1\nkind: Secret\nmetadata:\n  name: one\nstringData:\n  key: " + canary + "\n")})
	w.source()
	k := w.kustomization("a", func(s *kustomizev1.KustomizationSpec) {
		s.Decryption = &kustomizev1.Decryption{Provider: "sops", SecretRef: &meta.LocalObjectReference{Name: "keys"}}
	})
	w.until(k, "True", "Applied")
	who := involved{"GitRepository", "ns", "app", tokenOperation}
	tokens.observe(onBehalfOf(t.Context(), who), false, nil)
	tokens.observe(onBehalfOf(t.Context(), who), true, errors.New("refused"))

	lines := scrape(t, w.options.MetricsAddr)
	want := []string{
		"gotk_reconcile_duration_seconds_bucket(kind,name,namespace,le)", "gotk_reconcile_duration_seconds_count(kind,name,namespace)",
		"gotk_reconcile_duration_seconds_sum(kind,name,namespace)", "gotk_token_cache_events_total(event_type,kind,name,namespace,operation)",
		"gotk_token_cache_evictions_total()", "gotk_token_cache_requests_total(status)", "gotk_token_cached_items()",
		"sluice_data_key_cache_events_total(event_type)", "sluice_data_key_cached_items()",
	}
	if got := shapes(lines); !slices.Equal(got, want) {
		t.Errorf("metrics are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	text := strings.Join(lines, "\n")
	for _, line := range []string{
		`gotk_token_cache_events_total{event_type="cache_hit",kind="GitRepository",name="app",namespace="ns",operation="reconcile"} 1`,
		`gotk_token_cache_events_total{event_type="cache_miss",kind="GitRepository",name="app",namespace="ns",operation="reconcile"} 1`,
		fmt.Sprintf(`gotk_reconcile_duration_seconds_count{kind="GitRepository",name="app",namespace=%q}`, w.namespace),
		fmt.Sprintf(`gotk_reconcile_duration_seconds_count{kind="Kustomization",name="a",namespace=%q}`, w.namespace),
	} {
		if !strings.Contains(text, line) {
			t.Errorf("the metrics lack %s", line)
		}
	}
	if strings.Contains(text, canary) || strings.Contains(text, "AGE-SECRET-KEY") {
		t.Error("a secret stands in the metrics")
	}
	if err := w.client.Delete(t.Context(), &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "app"}}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 30*time.Second, func() error {
		for _, l := range scrape(t, w.options.MetricsAddr) {
			if strings.Contains(l, `kind="GitRepository"`) && strings.Contains(l, w.namespace) {
				return fmt.Errorf("a deleted object keeps %s", l)
			}
		}
		return nil
	})
	tokens.forget(who)
	if strings.Contains(strings.Join(scrape(t, w.options.MetricsAddr), "\n"), `kind="GitRepository",name="app",namespace="ns",operation`) {
		t.Error("the token events of a deleted object stay")
	}
}
