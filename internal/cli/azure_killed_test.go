package cli

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	emulated "github.com/sluice-gitops/sluice/internal/emulator/arm"
	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/provision"
)

// soakAzure kills at every request instead of every one that may change something.
var soakAzure = os.Getenv("SLUICE_SOAK_FAULTS") != ""

// swift makes what takes long on Azure take long enough to be met under way.
var swift = &emulated.Pace{Cluster: 40 * time.Millisecond, Vault: 20 * time.Millisecond, Group: 20 * time.Millisecond, Purge: 20 * time.Millisecond, Register: 20 * time.Millisecond}

// killing is a command that is killed, and how the subscription gets to be what it finds there.
type killing struct {
	args    []string
	prepare func(s *subscription) error
}

// killings are told apart by what they find in the subscription.
var killings = map[string]killing{
	"nothing there": {args: []string{"provision", "-g", "g"}},
	"by roles":      {args: []string{"provision", "-g", "g", "--rbac"}},
	"providers never used": {args: []string{"provision", "-g", "g"}, prepare: func(s *subscription) error {
		for _, n := range []string{"ContainerService", "KeyVault", "ManagedIdentity"} {
			if _, err := s.ask(http.MethodPost, "/subscriptions/"+s.Env().SubscriptionID+"/providers/Microsoft."+n+"/unregister", "2021-04-01", nil); err != nil {
				return err
			}
		}
		return nil
	}},
	"a deleted vault": {args: []string{"provision", "-g", "g"}, prepare: func(s *subscription) error {
		return s.provisioned(provision.Spec{Group: "g"}, s.destroyed)
	}},
	"a deleted vault by roles": {args: []string{"provision", "-g", "g", "--rbac"}, prepare: func(s *subscription) error {
		return s.provisioned(provision.Spec{Group: "g", RBAC: true}, s.destroyed)
	}},
	"a deleted key": {args: []string{"provision", "-g", "g"}, prepare: func(s *subscription) error {
		return s.provisioned(provision.Spec{Group: "g", PersonPermissions: []string{"get", "list", "encrypt", "decrypt", "delete", "recover"}}, s.keyDeleted)
	}},
	"a cluster and a credential that differ": {args: []string{"provision", "-g", "g", "-y"}, prepare: func(s *subscription) error {
		return s.provisioned(provision.Spec{Group: "g"}, s.changed)
	}},
	"destroy": {args: []string{"destroy", "-g", "g", "-y"}, prepare: func(s *subscription) error {
		return s.provisioned(provision.Spec{Group: "g"})
	}},
	"destroy and purge": {args: []string{"destroy", "-g", "g", "--purge", "-y"}, prepare: func(s *subscription) error {
		return s.provisioned(provision.Spec{Group: "g", NoPurgeProtect: true})
	}},
}

// provisioned makes everything, and then does more to it.
func (s *subscription) provisioned(spec provision.Spec, more ...func() error) error {
	_, err := provision.Run(s.t.Context(), s.client(), spec, event.Discard)
	for _, do := range more {
		if err == nil {
			err = do()
		}
	}
	return err
}

func (s *subscription) destroyed() error {
	inv, err := provision.Take(s.t.Context(), s.client(), "g")
	if err != nil {
		return err
	}
	return provision.Destroy(s.t.Context(), s.client(), inv, "g", false, event.Discard)
}

func (s *subscription) keyDeleted() error {
	url := "https://" + provision.VaultName(s.Env().SubscriptionID, "g") + ".vault.azure.net"
	keys, err := azkeys.NewClient(url, s.cred, &azkeys.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: s.http}})
	if err == nil {
		_, err = keys.DeleteKey(s.t.Context(), provision.DefaultKey, nil)
	}
	return err
}

// changed turns workload identity off and lets the credential trust somebody else.
func (s *subscription) changed() error {
	group := "/subscriptions/" + s.Env().SubscriptionID + "/resourceGroups/g/providers/"
	cluster, credential := group+"Microsoft.ContainerService/managedClusters/"+provision.DefaultCluster,
		group+"Microsoft.ManagedIdentity/userAssignedIdentities/"+provision.DefaultIdentity+"/federatedIdentityCredentials/flux-system-kustomize-controller"
	c, err := s.ask(http.MethodGet, cluster, "2025-02-01", nil)
	if err != nil {
		return err
	}
	c["properties"].(map[string]any)["securityProfile"] = map[string]any{"workloadIdentity": map[string]any{"enabled": false}}
	if _, err := s.ask(http.MethodPut, cluster, "2025-02-01", c); err != nil {
		return err
	}
	if _, err := s.client().AwaitCluster(s.t.Context(), "g", provision.DefaultCluster); err != nil {
		return err
	}
	_, err = s.ask(http.MethodPut, credential, "2024-11-30", map[string]any{"properties": map[string]any{
		"issuer": "https://elsewhere.example.com/", "subject": "system:serviceaccount:other:other", "audiences": []string{"api://AzureADTokenExchange"}}})
	return err
}

// point is where a process is killed: at its nth request that counts, before it is carried out or after.
type point struct {
	n     int
	after bool
}

func (p point) String() string {
	if p.after {
		return fmt.Sprintf("after request %d, unanswered", p.n)
	}
	return fmt.Sprintf("before request %d", p.n)
}

// at kills the process behind the door at p and tells how many requests that count came there.
func (d *door) at(p point) (requests *int) {
	requests = new(int)
	d.before = func(r *http.Request) bool {
		if !soakAzure && !changes(r) {
			return false
		}
		*requests++
		return *requests == p.n && !p.after
	}
	d.after = func(r *http.Request) bool { return (soakAzure || changes(r)) && *requests == p.n && p.after }
	return requests
}

// undisturbed prepares a subscription, and tells what a run on a copy of it ends in, after how many requests.
func undisturbed(t *testing.T, k killing) (template, want string, requests int) {
	t.Helper()
	template = t.TempDir()
	s := openSubscription(t, template, swift)
	if k.prepare != nil {
		if err := k.prepare(s); err != nil {
			t.Fatal(err)
		}
	}
	s.close()
	want, requests = killedAt(t, template, k.args, point{})
	return template, want, requests
}

// TestAProcessKilledAtAnyRequestIsEndedByTheNext kills the program by SIGKILL at each request that may change something
// (SLUICE_SOAK_FAULTS: at each), once before it is carried out and once after, in a subscription of its own each time,
// and runs it again: the subscription must then be, to the last property, as after an undisturbed run.
func TestAProcessKilledAtAnyRequestIsEndedByTheNext(t *testing.T) {
	for name, k := range killings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			template, want, requests := undisturbed(t, k)
			if requests == 0 {
				t.Fatal("no request is worth a kill")
			}
			for n := 1; n <= requests; n++ {
				for _, p := range []point{{n, false}, {n, true}} {
					t.Run(p.String(), func(t *testing.T) {
						t.Parallel()
						if got, _ := killedAt(t, template, k.args, p); got != want {
							t.Errorf("the subscription is\n%s\nand not\n%s", got, want)
						}
					})
				}
			}
		})
	}
}

// killedAt runs the program on a copy of a subscription, kills it at p, runs it again to its end, and returns everything
// that is there then. Without a point it runs once, and requests are those that it made.
func killedAt(t *testing.T, template string, args []string, p point) (everything string, requests int) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(template)); err != nil {
		t.Fatal(err)
	}
	s := openSubscription(t, dir, swift)
	d := openDoor(t, s)
	seen := d.at(p)
	code, stderr := d.sluice(t, args...)
	switch {
	case p.n == 0 && code != 0:
		t.Fatalf("undisturbed: exit %d\n%s", code, stderr)
	case p.n > 0 && code == 0 && soakAzure: // how often it asks how far Azure is differs from run to run
	case p.n > 0 && code != -1:
		t.Fatalf("it was not killed but ended with %d after %d requests\n%s", code, *seen, stderr)
	case p.n > 0:
		d.before, d.after = nil, nil
		// A destroy that was killed when all was done has nothing left to do, and says so.
		code, stderr = d.sluice(t, args...)
		if code != 0 && !(args[0] == "destroy" && strings.Contains(stderr, "SLU-ARM-005")) {
			t.Fatalf("the next run: exit %d\n%s", code, stderr)
		}
	}
	everything, err := s.everything()
	if err != nil {
		t.Fatal(err)
	}
	return everything, *seen
}
