package check

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
	"github.com/sluice-gitops/sluice/internal/fault"
)

// inVault is a sealed document as far as its metadata goes.
func inVault(version string) string {
	return "data:\n    a: ENC[AES256_GCM,data:eA==,iv:eA==,tag:eA==,type:str]\nsops:\n    azure_kv:\n        - vault_url: https://one.vault.azure.net\n          name: sops\n          version: " +
		version + "\n          created_at: \"2026-01-01T00:00:00Z\"\n          enc: eA\n    lastmodified: \"2026-01-01T00:00:00Z\"\n    mac: ENC[AES256_GCM,data:eA==,iv:eA==,tag:eA==,type:str]\n    version: 3.13.2\n"
}

func TestVaultsAreAskedOnceAboutEachKey(t *testing.T) {
	now := time.Now()
	states := map[string]keyvault.State{
		"old": {Enabled: true}, "off": {Enabled: false}, "late": {Enabled: true, Expires: now.Add(-time.Hour)}, "new": {Enabled: true, Expires: now.Add(time.Hour)},
	}
	var asked atomic.Int32
	online := &Online{Clock: func() time.Time { return now }, State: func(_ context.Context, id keyvault.KeyID) (keyvault.State, error) {
		asked.Add(1)
		if id.Version == "" {
			id.Version = "new"
		}
		s, ok := states[id.Version]
		if !ok {
			return s, &fault.Fault{Hop: fault.HopKey, Seen: "no such version"}
		}
		s.ID = id
		return s, nil
	}}
	files := map[string]string{}
	for _, version := range []string{"old", "off", "late", "new", "gone"} {
		for i := range 20 {
			files[fmt.Sprintf("%s/%d.yaml", version, i)] = inVault(version)
		}
	}
	r := checked(t, files, func(o *Options) { o.Online = online })
	got := map[string][]string{}
	for _, f := range r.Findings {
		if f.Line != 7 {
			t.Errorf("%+v: want line 7", f)
		}
		version, _, _ := strings.Cut(f.File, "/")
		if !slices.Contains(got[version], f.Check) {
			got[version] = append(got[version], f.Check)
		}
	}
	for version, want := range map[string][]string{"old": {StaleKey}, "off": {DisabledKey, StaleKey}, "late": {ExpiredKey, StaleKey}, "new": nil, "gone": {Unreachable}} {
		if !slices.Equal(got[version], want) {
			t.Errorf("%s: %v, want %v", version, got[version], want)
		}
	}
	if n := asked.Load(); n != 6 {
		t.Errorf("%d requests, want one for each of five versions and one for the newest", n)
	}
}
