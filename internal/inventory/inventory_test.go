package inventory

import (
	"encoding/json"
	"math/rand"
	"os"
	"slices"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
)

var forms = []struct {
	text string
	id   ID
}{
	{"apps_web_apps_Deployment", ID{"apps", "web", "apps", "Deployment"}},
	{"default_settings__ConfigMap", ID{"default", "settings", "", "ConfigMap"}},
	{"_apps__Namespace", ID{"", "apps", "", "Namespace"}},
	{"_widgets.example.com_apiextensions.k8s.io_CustomResourceDefinition", ID{"", "widgets.example.com", "apiextensions.k8s.io", "CustomResourceDefinition"}},
	{"_system__discovery_rbac.authorization.k8s.io_ClusterRole", ID{"", "system:discovery", RBACGroup, "ClusterRole"}},
	{"kube-system_my_role_rbac.authorization.k8s.io_Role", ID{"kube-system", "my_role", RBACGroup, "Role"}},
}

func TestIDsHaveFluxsTextForm(t *testing.T) {
	for _, tt := range forms {
		if got := tt.id.String(); got != tt.text {
			t.Errorf("%+v = %q, want %q", tt.id, got, tt.text)
		}
		got, err := ParseID(tt.text)
		if err != nil || got != tt.id {
			t.Errorf("ParseID(%q) = %+v, %v, want %+v", tt.text, got, err, tt.id)
		}
	}
}

func TestParseIDRefusesWhatItCouldNotWriteBack(t *testing.T) {
	for _, s := range []string{"", "apps", "a_b", "a_b_c", "a___Kind", "a_b_c_", "__rbac.authorization.k8s.io_Role", "ns_a:b_" + RBACGroup + "_Role"} {
		if id, err := ParseID(s); err == nil {
			t.Errorf("ParseID(%q) = %+v, want an error", s, id)
		}
	}
}

func TestAnRBACNameWithADoubleUnderscoreIsFoundUnderEverySpelling(t *testing.T) {
	id, err := ParseID("ns_a__b_" + RBACGroup + "_Role")
	if err != nil {
		t.Fatal(err)
	}
	if got := id.Spellings(); !slices.Equal(got, []string{"a:b", "a__b"}) {
		t.Errorf("Spellings = %q", got)
	}
	mixed := ID{Name: "a:b:c", Kind: "Role", Group: RBACGroup}
	if got := mixed.Spellings(); len(got) != 4 || got[0] != "a:b:c" || !slices.Contains(got, "a:b__c") || !slices.Contains(got, "a__b:c") {
		t.Errorf("Spellings of a name with two colons = %q", got)
	}
	if got := (ID{Name: "1:2:3:4:5:6:7", Kind: "Role", Group: RBACGroup}).Spellings(); len(got) != 2 {
		t.Errorf("Spellings of a name with many colons = %q", got)
	}
	if got := (ID{Name: "web", Kind: "Role", Group: RBACGroup}).Spellings(); !slices.Equal(got, []string{"web"}) {
		t.Errorf("Spellings of a plain name = %q", got)
	}
}

func TestDisplayIsKindNamespaceName(t *testing.T) {
	if got := forms[0].id.Display(); got != "Deployment/apps/web" {
		t.Error(got)
	}
	if got := forms[2].id.Display(); got != "Namespace/apps" {
		t.Error(got)
	}
}

func TestSetsAreInApplyOrder(t *testing.T) {
	want := strings.Fields(`_w.example.com_apiextensions.k8s.io_CustomResourceDefinition _apps__Namespace _r_rbac.authorization.k8s.io_ClusterRole
		_fast_storage.k8s.io_StorageClass _a_example.com_AClass
		_b_rbac.authorization.k8s.io_ClusterRoleBinding apps_sa__ServiceAccount apps_c__ConfigMap apps_d__ConfigMap b_a__ConfigMap apps_s__Secret
		apps_web_apps_Deployment apps_p__Pod apps_w_example.com_Widget _v_admissionregistration.k8s.io_ValidatingWebhookConfiguration`)
	var entries []Entry
	for _, s := range want {
		id, err := ParseID(s)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, Entry{id, "v1"})
	}
	rand.New(rand.NewSource(1)).Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
	var got []string
	for _, e := range New(entries...).Entries() {
		got = append(got, e.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestOnlyTheRightGroupMakesADefinition(t *testing.T) {
	for id, want := range map[ID]Stage{
		{Name: "x", Kind: "Namespace"}:                       Definitions,
		{Name: "x", Kind: "Namespace", Group: "example.com"}: Resources,
		{Name: "x", Kind: "ClusterRole", Group: "x.io"}:      Resources,
		{Name: "x", Kind: "GatewayClass", Group: "x.io"}:     Classes,
	} {
		if got := id.Stage(); got != want {
			t.Errorf("%+v: %v, want %v", id, got, want)
		}
	}
}

func TestWebhooksGoLastAndAccountsFirst(t *testing.T) {
	for kind, want := range map[string]int{
		"ServiceAccount": 0, "Secret": 0, "LimitRange": 0, "Deployment": 1, "Pod": 1, "Widget": 1, "ValidatingWebhookConfiguration": 2,
	} {
		if got := (ID{Kind: kind}).Wave(); got != want {
			t.Errorf("%s: wave %d, want %d", kind, got, want)
		}
	}
}

func TestStatusRoundTripsAndReportsEveryMalformedReference(t *testing.T) {
	inv := &kustomizev1.ResourceInventory{Entries: []kustomizev1.ResourceRef{
		{ID: "bad", Version: "v1"}, {ID: "_apps__Namespace", Version: "v1"}, {ID: "worse_", Version: "v1"},
	}}
	s, err := FromStatus(inv)
	if err == nil || !strings.Contains(err.Error(), `"bad"`) || !strings.Contains(err.Error(), `"worse_"`) {
		t.Errorf("err = %v", err)
	}
	if s.Len() != 1 {
		t.Fatalf("readable entries: %d", s.Len())
	}
	again, err := FromStatus(s.Status())
	if err != nil || !again.Equal(s) {
		t.Errorf("round trip: %v, %v", again, err)
	}
	raw, err := json.Marshal(Set{}.Status())
	if err != nil || string(raw) != `{"entries":[]}` {
		t.Errorf("empty inventory = %s, %v", raw, err)
	}
}

// TestUnionAndDiffObeySetLaws drives random sets through the laws that prune relies on.
func TestUnionAndDiffObeySetLaws(t *testing.T) {
	r := rand.New(rand.NewSource(7))
	random := func() Set {
		var entries []Entry
		for range r.Intn(8) {
			id := forms[r.Intn(len(forms))].id
			id.Name += string(rune('a' + r.Intn(3)))
			entries = append(entries, Entry{id, []string{"v1", "v2"}[r.Intn(2)]})
		}
		return New(entries...)
	}
	for range 2000 {
		older, newer := random(), random()
		union, stale := older.Union(newer), older.Diff(newer)
		for _, e := range older.Entries() {
			if !union.Has(e.ID) {
				t.Fatalf("union of %v and %v lost %v", older, newer, e)
			}
			if stale.Has(e.ID) == newer.Has(e.ID) {
				t.Fatalf("%v is stale=%v, new=%v", e, stale.Has(e.ID), newer.Has(e.ID))
			}
		}
		for _, e := range newer.Entries() {
			if !slices.Contains(union.Entries(), e) {
				t.Fatalf("union lost the newer %v", e)
			}
		}
		if union.Len() != stale.Len()+newer.Len() || !union.Diff(stale).Equal(newer) {
			t.Fatalf("union %v, stale %v, newer %v", union, stale, newer)
		}
		if back, err := FromStatus(union.Status()); err != nil || !back.Equal(union) {
			t.Fatalf("round trip of %v: %v, %v", union, back, err)
		}
	}
}

// FuzzParseID holds that whatever parses is written back byte for byte, so that an inventory that passes through us is
// never changed.
func FuzzParseID(f *testing.F) {
	seeds, err := os.ReadDir("testdata/fuzz/FuzzParseID")
	if err != nil || len(seeds) == 0 {
		f.Fatalf("no committed seeds: %v", err)
	}
	for _, tt := range forms {
		f.Add(tt.text)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		if err != nil {
			return
		}
		if id.String() != s {
			t.Errorf("%q parses as %+v, which is written %q", s, id, id.String())
		}
		if again, err := ParseID(id.String()); err != nil || again != id {
			t.Errorf("%+v does not survive: %+v, %v", id, again, err)
		}
	})
}
