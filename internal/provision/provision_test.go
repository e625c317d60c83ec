package provision_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/sluice-gitops/sluice/internal/azure/arm"
	"github.com/sluice-gitops/sluice/internal/azure/identity"
	"github.com/sluice-gitops/sluice/internal/emulator"
	emulated "github.com/sluice-gitops/sluice/internal/emulator/arm"
	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/provision"
	"github.com/sluice-gitops/sluice/internal/testkit"
	"github.com/sluice-gitops/sluice/internal/testkit/azureserver"
)

var _ = flag.Bool("update", false, "rewrite golden files")

// quick makes operations end at the first question, which still has to be asked.
var quick = &emulated.Pace{Cluster: 2 * time.Millisecond, Vault: 2 * time.Millisecond, Group: 2 * time.Millisecond, Purge: 2 * time.Millisecond, Register: 2 * time.Millisecond}

// azure is an emulated subscription with a counting way to it.
type azure struct {
	*azureserver.Server
	t *testing.T
}

func start(t *testing.T, pace *emulated.Pace) *azure {
	t.Helper()
	return &azure{azureserver.New(t, emulator.Options{Pace: pace}), t}
}

// line lets requests through one at a time, counts them, and dies for good after dieAfter of them (0: never): the
// request is carried out, and its answer lost, as when the process is killed there. It then ends the run's context.
type line struct {
	mu       sync.Mutex
	through  policy.Transporter
	count    int
	writes   []string
	dieAfter int
	kill     func()
	dead     bool
}

var errDead = errors.New("the process was killed")

func (w *line) Do(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		return nil, errDead
	}
	if r.URL.Host == "login.microsoftonline.com" {
		return w.through.Do(r)
	}
	w.count++
	if r.Method != http.MethodGet {
		w.writes = append(w.writes, r.Method+" "+r.URL.Path)
	}
	res, err := w.through.Do(r)
	if w.dieAfter > 0 && w.count >= w.dieAfter {
		w.dead = true
		if err == nil {
			_ = res.Body.Close()
		}
		w.kill()
		return nil, errDead
	}
	return res, err
}

// client is the developer's, over w.
func (a *azure) client(w policy.Transporter) *arm.Client {
	a.t.Helper()
	env := a.Env()
	cred, err := identity.ForServicePrincipal(env.TenantID, env.DeveloperClientID, env.DeveloperSecret, w)
	if err != nil {
		a.t.Fatal(err)
	}
	c, err := arm.New(env.SubscriptionID, cred, azcore.ClientOptions{Transport: w, Retry: policy.RetryOptions{MaxRetries: -1}})
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

// run provisions once and returns the requests.
func (a *azure) run(s provision.Spec) (*provision.Result, *line, error) {
	w := &line{through: a.HTTP}
	r, err := provision.Run(a.t.Context(), a.client(w), s, event.Discard)
	return r, w, err
}

func (a *azure) must(s provision.Spec) *provision.Result {
	a.t.Helper()
	r, _, err := a.run(s)
	if err != nil {
		a.t.Fatal(err)
	}
	return r
}

// shape is what a group holds, with every id that is made up by Azure replaced by what it is an id of.
func (a *azure) shape(group string) string {
	a.t.Helper()
	inv, err := provision.Take(a.t.Context(), a.client(a.HTTP), group)
	if err != nil {
		a.t.Fatal(err)
	}
	data, err := json.MarshalIndent(inv, "", "  ")
	if err != nil {
		a.t.Fatal(err)
	}
	env := a.Env()
	pairs := []string{env.IssuerURL, "ISSUER", env.SubscriptionID, "SUBSCRIPTION", env.TenantID, "TENANT", env.DeveloperObjectID, "PERSON"}
	for _, i := range inv.Identities {
		pairs = append(pairs, i.ClientID, "CLIENT", i.PrincipalID, "PRINCIPAL")
	}
	for _, v := range inv.Vaults {
		for _, k := range v.Keys {
			pairs = append(pairs, k.URL[strings.LastIndex(k.URL, "/")+1:], "VERSION")
		}
	}
	return strings.NewReplacer(pairs...).Replace(string(data))
}

var everything = provision.Spec{Group: "g", Vault: "vault-of-tests"}

func TestProvisionMakesTheWholeChain(t *testing.T) {
	for name, s := range map[string]provision.Spec{"policies": everything, "roles": {Group: "g", Vault: "vault-of-tests", RBAC: true}} {
		t.Run(name, func(t *testing.T) {
			a := start(t, quick)
			r := a.must(s)
			if r.Cluster.Issuer != a.Env().IssuerURL || r.Identity.ClientID == "" || !strings.HasPrefix(r.KeyURL, "https://vault-of-tests.vault.azure.net/keys/encryption-key/") || r.Changed != 8 {
				t.Errorf("%+v", r)
			}
			testkit.Golden(t, "testdata/"+name+".golden", []byte(a.shape("g")))
		})
	}
}

func TestASecondRunOnlyReads(t *testing.T) {
	for _, rbac := range []bool{false, true} {
		a := start(t, quick)
		s := everything
		s.RBAC = rbac
		first := a.must(s)
		second, w, err := a.run(s)
		if err != nil {
			t.Fatal(err)
		}
		if second.Changed != 0 || len(w.writes) != 0 || w.count == 0 {
			t.Errorf("rbac %v: %d changed by %q of %d requests", rbac, second.Changed, w.writes, w.count)
		}
		if second.KeyURL != first.KeyURL || second.Identity != first.Identity || second.Federation != first.Federation {
			t.Errorf("%+v, after %+v", second, first)
		}
	}
}

// TestARunKilledAfterAnyRequestIsEndedByTheNext kills a run after its first request, another in a new group after its
// second, and so on; the run after it must end where an undisturbed one does.
func TestARunKilledAfterAnyRequestIsEndedByTheNext(t *testing.T) {
	a := start(t, quick)
	for _, rbac := range []bool{false, true} {
		in := func(n int) provision.Spec {
			return provision.Spec{Group: fmt.Sprintf("g%03d-%v", n, rbac), Vault: fmt.Sprintf("vault-%03d-%v", n, rbac), RBAC: rbac}
		}
		_, w, err := a.run(in(0))
		if err != nil {
			t.Fatal(err)
		}
		shape := func(n int) string {
			return strings.NewReplacer(in(n).Group, "GROUP", in(n).Vault, "VAULT").Replace(a.shape(in(n).Group))
		}
		want, first, killed := shape(0), 1, 0
		if rbac {
			first = w.count / 2 // before, both ask for the same
		}
		for n := first; n < w.count; n++ {
			ctx, kill := context.WithCancel(t.Context())
			dying := &line{through: a.HTTP, dieAfter: n, kill: kill}
			if _, err := provision.Run(ctx, a.client(dying), in(n), event.Discard); err != nil {
				killed++
			}
			kill()
			if _, _, err := a.run(in(n)); err != nil {
				t.Fatalf("rbac %v: after a run killed at request %d: %v", rbac, n, err)
			}
			if got := shape(n); got != want {
				t.Fatalf("rbac %v: after a run killed at request %d:\n%s\nwant\n%s", rbac, n, got, want)
			}
		}
		if killed < w.count-first-2 {
			t.Errorf("only %d of %d runs were killed", killed, w.count-first)
		}
	}
}

func TestTwoAtOnceMakeOne(t *testing.T) {
	a := start(t, &emulated.Pace{Cluster: 50 * time.Millisecond, Vault: 50 * time.Millisecond})
	var both sync.WaitGroup
	results := make([]*provision.Result, 2)
	for i := range results {
		both.Go(func() {
			r, _, err := a.run(everything)
			if err != nil {
				t.Error(err)
			}
			results[i] = r
		})
	}
	both.Wait()
	if t.Failed() {
		return
	}
	if results[0].KeyURL != results[1].KeyURL || results[0].Identity != results[1].Identity {
		t.Errorf("%+v\n%+v", results[0], results[1])
	}
	if n := results[0].Changed + results[1].Changed; n < 8 || n > 16 {
		t.Errorf("%d changes", n)
	}
	one := start(t, quick)
	one.must(everything)
	if got, want := a.shape("g"), one.shape("g"); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestDestroyLeavesNothingAndResumes(t *testing.T) {
	a := start(t, quick)
	s := everything
	s.NoPurgeProtect = true
	a.must(s)
	c := a.client(a.HTTP)
	inv, err := provision.Take(t.Context(), c, "g")
	if err != nil {
		t.Fatal(err)
	}
	if err := provision.Destroy(t.Context(), c, inv, "g", false, event.Discard); err != nil {
		t.Fatal(err)
	}
	inv, err = provision.Take(t.Context(), c, "g")
	if err != nil || inv.Group != nil || len(inv.Deleted) != 1 {
		t.Fatalf("%+v, %v", inv, err)
	}
	if err := provision.Destroy(t.Context(), c, inv, "g", true, event.Discard); err != nil {
		t.Fatal(err)
	}
	if inv, err = provision.Take(t.Context(), c, "g"); err != nil || len(inv.Deleted) != 0 {
		t.Errorf("%+v, %v", inv, err)
	}
}
