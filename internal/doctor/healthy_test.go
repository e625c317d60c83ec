package doctor

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/internal/azure/cloud"
)

// states of hops, by name.
func (r *Report) states() map[string]State {
	out := map[string]State{}
	for _, h := range r.Hops {
		out[h.Name] = h.State
	}
	return out
}

func (r *Report) text() string {
	var b strings.Builder
	for _, h := range r.Hops {
		fmt.Fprintf(&b, "%-21s %-11s %s\n", h.Name, h.State, h.Seen)
		if h.Fault != nil {
			fmt.Fprintf(&b, "    %s\n", h.Fault.Multiline())
		}
	}
	return b.String()
}

func (w *world) examine(o Options) *Report {
	w.t.Helper()
	r, err := Examine(w.t.Context(), o)
	w.must(err)
	if strings.Contains(r.text(), canary) {
		w.t.Error("the report holds plaintext")
	}
	return r
}

func TestAHealthyChainRaisesNoAlarm(t *testing.T) {
	w := newWorld(t)
	for _, in := range []struct {
		rbac     bool
		cloud    cloud.Cloud
		audience string
	}{
		{false, cloud.Public, ""}, {true, cloud.Public, ""},
		{false, cloud.USGovernment, ""}, {true, cloud.China, ""}, {false, cloud.USGovernment, cloud.USGovernment.Audience},
	} {
		w.rbac, w.cloud = in.rbac, in.cloud
		w.heal()
		if in.audience != "" { // the cluster's own, and the credential says the same
			w.audience = in.audience
			w.renew()
			w.federation("flux", w.azure.Env().IssuerURL, w.subject(), in.audience)
		}
		r := w.examine(w.options())
		for _, h := range r.Hops {
			if h.State != OK {
				t.Errorf("%s, rbac %v: %s is %s: %s", in.cloud.Name, in.rbac, h.Name, h.State, h.Seen)
			}
		}
		if t.Failed() {
			t.Fatal(r.text())
		}
	}
}
