package emulator_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/internal/emulator"
	"github.com/sluice-gitops/sluice/internal/emulator/arm"
	"github.com/sluice-gitops/sluice/internal/emulator/wire"
)

const clusterPath = group + "/providers/Microsoft.ContainerService/managedClusters/aks"

var (
	slow       = &arm.Pace{Cluster: 400 * time.Millisecond, Vault: 400 * time.Millisecond, Group: 400 * time.Millisecond, Purge: 400 * time.Millisecond, Register: 400 * time.Millisecond}
	federating = object{"location": "westeurope", "properties": object{"oidcIssuerProfile": object{"enabled": true}, "securityProfile": object{"workloadIdentity": object{"enabled": true}}}}
)

func provisioning(r map[string]any) any { return dig(r, "properties", "provisioningState") }

func TestAClusterIsCreatingUntilItsOperationHasEnded(t *testing.T) {
	a := start(t, emulator.Options{Pace: slow})
	a.mustARM("PUT", group, object{"location": "westeurope"})
	r := a.arm("PUT", clusterPath, federating)
	if r.status != 201 || provisioning(r.json(t)) != "Creating" || dig(r.json(t), "properties", "oidcIssuerProfile", "issuerURL") != nil {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if again := a.arm("PUT", strings.ToUpper(clusterPath), federating); again.status != 409 || dig(again.json(t), "error", "code") != "OperationNotAllowed" {
		t.Errorf("a second PUT meanwhile: %d %s", again.status, again.body)
	}
	if got := a.follow(r); got != "Succeeded" {
		t.Fatalf("operation %s", got)
	}
	got := a.arm("GET", clusterPath, nil).json(t)
	if provisioning(got) != "Succeeded" || dig(got, "properties", "oidcIssuerProfile", "issuerURL") != a.Env().IssuerURL {
		t.Errorf("%v", got)
	}
	r = a.arm("PUT", clusterPath, federating)
	if r.status != 200 || provisioning(r.json(t)) != "Updating" || a.follow(r) != "Succeeded" {
		t.Errorf("update: %d %s", r.status, r.body)
	}
	r = a.arm("DELETE", clusterPath, nil)
	if r.status != 202 || provisioning(a.arm("GET", clusterPath, nil).json(t)) != "Deleting" || a.follow(r) != "Succeeded" {
		t.Errorf("delete: %d %s", r.status, r.body)
	}
	if r := a.arm("GET", clusterPath, nil); r.status != 404 {
		t.Errorf("afterwards: %d", r.status)
	}
}

func TestAnOperationSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	first := start(t, emulator.Options{Dir: dir, Pace: slow})
	first.mustARM("PUT", group, object{"location": "westeurope"})
	r := first.arm("PUT", clusterPath, federating)
	first.Stop()
	second := start(t, emulator.Options{Dir: dir, Pace: slow})
	second.token = second.developerToken("https://management.azure.com")
	if got := second.follow(r); got != "Succeeded" {
		t.Errorf("operation %s", got)
	}
}

func TestAnOperationFailsLate(t *testing.T) {
	a := start(t, emulator.Options{Pace: slow})
	a.mustARM("PUT", group, object{"location": "westeurope"})
	a.SetTrouble(&arm.Trouble{Late: func(string) *wire.Failure { return &wire.Failure{Code: "QuotaExceeded", Message: "no cores"} }})
	if got := a.follow(a.arm("PUT", clusterPath, federating)); got != "Failed" {
		t.Errorf("operation %s", got)
	}
	if got := provisioning(a.arm("GET", clusterPath, nil).json(t)); got != "Failed" {
		t.Errorf("cluster %v", got)
	}
	a.SetTrouble(nil)
	if got := a.follow(a.arm("PUT", clusterPath, federating)); got != "Succeeded" {
		t.Errorf("put again: %s", got)
	}
}

func TestANewVaultRegistersItsNameFirst(t *testing.T) {
	a := start(t, emulator.Options{Pace: slow})
	a.mustARM("PUT", group, object{"location": "westeurope"})
	r := a.arm("PUT", vaultPath, vaultBody(a, nil))
	if r.status != 201 || provisioning(r.json(t)) != "RegisteringDns" || r.header.Get("Retry-After") == "" {
		t.Fatalf("%d %v %s", r.status, r.header, r.body)
	}
	deadline := time.Now().Add(10 * time.Second)
	for provisioning(a.arm("GET", vaultPath, nil).json(t)) != "Succeeded" {
		if time.Now().After(deadline) {
			t.Fatal("never Succeeded")
		}
	}
}

func TestAGroupBeingDeletedTakesNothingNew(t *testing.T) {
	a, _ := onboarded(t, emulator.Options{Pace: slow})
	r := a.arm("DELETE", group, nil)
	if r.status != 202 || provisioning(a.arm("GET", group, nil).json(t)) != "Deleting" {
		t.Fatalf("%d %s", r.status, r.body)
	}
	for _, path := range []string{group, identityPath} {
		if r := a.arm("PUT", path, object{"location": "westeurope"}); r.status != 409 || dig(r.json(t), "error", "code") != "ResourceGroupBeingDeleted" {
			t.Errorf("PUT %s: %d %s", path, r.status, r.body)
		}
	}
	if got := a.follow(r); got != "200" {
		t.Errorf("ended with %s", got)
	}
	if r := a.arm("GET", group, nil); r.status != 404 {
		t.Errorf("afterwards: %d", r.status)
	}
}

func TestAProviderMustBeRegistered(t *testing.T) {
	a := start(t, emulator.Options{Pace: slow})
	a.mustARM("PUT", group, object{"location": "westeurope"})
	state := func() any { return a.mustARM("GET", "/providers/microsoft.keyvault", nil)["registrationState"] }
	a.mustARM("POST", "/providers/Microsoft.KeyVault/unregister", nil)
	if r := a.arm("PUT", vaultPath, vaultBody(a, nil)); r.status != 409 || dig(r.json(t), "error", "code") != "MissingSubscriptionRegistration" || state() != "NotRegistered" {
		t.Errorf("unregistered: %d %s", r.status, r.body)
	}
	a.mustARM("POST", "/providers/Microsoft.KeyVault/register", nil)
	if got := state(); got != "Registering" {
		t.Errorf("at first %v", got)
	}
	deadline := time.Now().Add(10 * time.Second)
	for state() != "Registered" {
		if time.Now().After(deadline) {
			t.Fatal("never registered")
		}
	}
	a.mustARM("PUT", vaultPath, vaultBody(a, nil))
}

func TestTroubleIsMetBeforeAnythingIsDone(t *testing.T) {
	a := start(t, emulator.Options{})
	a.SetTrouble(&arm.Trouble{Refuse: func(operation string, _ *http.Request) *wire.Failure {
		if operation != "put-group" {
			return nil
		}
		return &wire.Failure{Status: 429, Code: "TooManyRequests", Header: http.Header{"Retry-After": {"7"}}}
	}})
	if r := a.arm("PUT", group, object{"location": "westeurope"}); r.status != 429 || r.header.Get("Retry-After") != "7" {
		t.Errorf("%d %v", r.status, r.header)
	}
	if r := a.arm("GET", group, nil); r.status != 404 {
		t.Errorf("the group was made: %d", r.status)
	}
}

func TestResourcesAreListedByGroup(t *testing.T) {
	a, _ := onboarded(t, emulator.Options{})
	a.mustARM("PUT", "/resourcegroups/rg2", object{"location": "westeurope"})
	for path, want := range map[string]int{"/resourcegroups/RG/resources": 2, "/resourcegroups/rg2/resources": 0, "/resources": 2} {
		if got := len(a.mustARM("GET", path, nil)["value"].([]any)); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
}
