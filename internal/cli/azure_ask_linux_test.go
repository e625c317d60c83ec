package cli

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/provision"
	"github.com/sluice-gitops/sluice/internal/testkit/terminal"
)

// answer runs the program at a terminal and types a line where it asks. It returns the exit code and the screen.
func (d *door) answer(t *testing.T, question, line string, args ...string) (code int, screen string) {
	t.Helper()
	person := terminal.New(t)
	d.tty = person.Tty
	var run sync.WaitGroup
	run.Go(func() { code, _ = d.sluice(t, args...) })
	person.Await(question)
	person.Type(line)
	run.Wait()
	d.tty = nil
	return code, person.Seen()
}

func (s *subscription) must(t *testing.T) string {
	t.Helper()
	all, err := s.everything()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestWhatExistsIsChangedOnlyAfterAYes(t *testing.T) {
	t.Parallel()
	s := openSubscription(t, t.TempDir(), swift)
	if err := s.provisioned(provision.Spec{Group: "g"}, s.changed); err != nil {
		t.Fatal(err)
	}
	d, before := openDoor(t, s), s.must(t)
	if code, stderr := d.sluice(t, "provision", "-g", "g"); code != fault.ExitUsage || !strings.Contains(stderr, "2 existing resources would be changed, and nobody can be asked") {
		t.Errorf("with nobody there: exit %d\n%s", code, stderr)
	}
	if code, screen := d.answer(t, "Change this? (y/N) ", "n", "provision", "-g", "g"); code != fault.ExitNo || !strings.Contains(screen, "nothing was changed") {
		t.Errorf("after a no: exit %d\n%s", code, screen)
	}
	if after := s.must(t); after != before {
		t.Fatalf("without a yes the subscription became\n%s\nfrom\n%s", after, before)
	}
	code, screen := d.answer(t, "Change this? (y/N) ", "y", "provision", "-g", "g")
	for _, says := range []string{"securityProfile.workloadIdentity.enabled: false → true", "subject: system:serviceaccount:other:other → system:serviceaccount:flux-system:kustomize-controller"} {
		if code != 0 || !strings.Contains(screen, says) {
			t.Errorf("after a yes: exit %d without %q\n%s", code, says, screen)
		}
	}
	if code, stderr := d.sluice(t, "provision", "-g", "g"); code != 0 || !strings.Contains(stderr, "Nothing to do") {
		t.Errorf("afterwards: exit %d\n%s", code, stderr)
	}
}

func TestDestroyShowsAndAsksForTheGroupsName(t *testing.T) {
	t.Parallel()
	s := openSubscription(t, t.TempDir(), swift)
	if err := s.provisioned(provision.Spec{Group: "g", NoPurgeProtect: true}); err != nil {
		t.Fatal(err)
	}
	d, before := openDoor(t, s), s.must(t)
	question := "Type the resource group's name to delete it: "
	if code, screen := d.answer(t, question, "y", "destroy", "-g", "g", "--purge"); code != fault.ExitNo || s.must(t) != before {
		t.Errorf("after a mere yes: exit %d\n%s", code, screen)
	}
	if !strings.Contains(d.out, "/managedClusters/sluice-aks") || !strings.Contains(d.out, "/keys/encryption-key/") {
		t.Errorf("it asks without showing what would go:\n%s", d.out)
	}
	if code, screen := d.answer(t, question, "g", "destroy", "-g", "g", "--purge"); code != 0 || !strings.Contains(screen, "can never be opened again") {
		t.Errorf("after the name: exit %d\n%s", code, screen)
	}
	if inv, err := provision.Take(t.Context(), s.client(), "g"); err != nil || inv.Group != nil || len(inv.Deleted) > 0 {
		t.Errorf("%+v is left, %v", inv, err)
	}
}

// The JSON of the azure commands is what scripts read ids from: the same in each.
func TestTheAzureCommandsSpeakJSON(t *testing.T) {
	t.Parallel()
	s := openSubscription(t, t.TempDir(), swift)
	d := openDoor(t, s)
	var got struct {
		DryRun  bool
		Steps   provision.Plan
		Result  provision.Result
		Deleted provision.Inventory
		provision.Inventory
	}
	run := func(args ...string) {
		t.Helper()
		code, stderr := d.sluice(t, append(args, "-g", "g", "-o", "json")...)
		if code != 0 {
			t.Fatalf("%v: exit %d\n%s", args, code, stderr)
		}
		if err := json.Unmarshal([]byte(d.out), &got); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, d.out)
		}
		if args[len(args)-1] == "--rbac" && !strings.Contains(stderr, "Roles given just now can take up to ten minutes") {
			t.Errorf("%v does not speak of the roles' delay:\n%s", args, stderr)
		}
	}
	run("provision", "--dry-run")
	if !got.DryRun || len(got.Steps) != 11 || got.Steps.Changes() != 8 || s.Requests()["arm/put-group"] != 0 {
		t.Errorf("--dry-run: %+v", got)
	}
	run("provision", "--rbac")
	r := got.Result
	if r.Changed != 8 || r.KeyURL == "" || r.Identity.ClientID == "" || r.Cluster.Issuer != s.Env().IssuerURL || !r.NewRole {
		t.Errorf("provision: %+v", r)
	}
	run("show")
	if got.Group == nil || got.Group.State != "Succeeded" || len(got.Clusters) != 1 || len(got.Identities) != 1 || len(got.Vaults) != 1 {
		t.Fatalf("show: %+v", got.Inventory)
	}
	if c := got.Clusters[0]; c.State != "Succeeded" || c.Issuer != r.Cluster.Issuer || !c.WorkloadIdentity {
		t.Errorf("show: cluster %+v", c)
	}
	if i := got.Identities[0]; i.ClientID != r.Identity.ClientID || len(i.Federations) != 1 || i.Federations[0] != r.Federation {
		t.Errorf("show: identity %+v", i)
	}
	if v := got.Vaults[0]; v.URL != r.Vault || v.State != "Succeeded" || len(v.Keys) != 1 || v.Keys[0].URL != r.KeyURL {
		t.Errorf("show: vault %+v", v)
	}
	run("destroy", "-y")
	if got.Deleted.Group == nil || len(got.Deleted.Vaults) != 1 {
		t.Errorf("destroy: %+v", got.Deleted)
	}
	run("show")
	if len(got.Inventory.Deleted) != 1 || got.Inventory.Deleted[0].Name != r.Vault[len("https://"):len(r.Vault)-len(".vault.azure.net")] {
		t.Errorf("show, afterwards: %+v", got.Inventory.Deleted)
	}
}
