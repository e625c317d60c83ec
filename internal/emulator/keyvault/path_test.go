package keyvault

import (
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/internal/emulator/store"
)

const version = "0123456789abcdef0123456789abcdef"

func TestPathsOfClientsAreUnderstood(t *testing.T) {
	for path, want := range map[string]target{
		"/keys":                             {collection: "keys"},
		"/keys/n":                           {collection: "keys", name: "n"},
		"/keys/n/":                          {collection: "keys", name: "n"},
		"/KEYS/n/" + version:                {collection: "keys", name: "n", version: version},
		"/keys/n/" + version + "/unwrapKey": {collection: "keys", name: "n", version: version, action: "unwrapkey"},
		"/keys/n//decrypt":                  {collection: "keys", name: "n", action: "decrypt"},
		"/keys/n/decrypt":                   {collection: "keys", name: "n", action: "decrypt"},
		"/keys/decrypt":                     {collection: "keys", name: "decrypt"},
		"/keys/versions/versions":           {collection: "keys", name: "versions", action: "versions"},
		"/deletedkeys/n/recover":            {collection: "deletedkeys", name: "n", action: "recover"},
	} {
		if got, ok := parsePath(path); !ok || got != want {
			t.Errorf("%s: %+v, %v; want %+v", path, got, ok, want)
		}
	}
	for _, path := range []string{
		"", "/", "/secrets/n", "/keys/n/short", "/keys/n/" + version + "/fly", "/keys/n_n", "/keys/" + strings.Repeat("n", 128),
		"/keys/n/" + version + "/decrypt/more", "/deletedkeys/n/" + version, "/keys/../n",
	} {
		if got, ok := parsePath(path); ok {
			t.Errorf("%s is taken for %+v", path, got)
		}
	}
}

// FuzzParsePath: what is understood has valid parts only, and its canonical path means the same.
func FuzzParsePath(f *testing.F) {
	f.Fuzz(func(t *testing.T, path string) {
		got, ok := parsePath(path)
		if !ok {
			return
		}
		if got.name != "" && !keyName.MatchString(got.name) || got.version != "" && !keyVersion.MatchString(got.version) ||
			got.action != "" && !actions[got.action] || got.name == "" && got.version+got.action != "" {
			t.Fatalf("%q: %+v", path, got)
		}
		if again, ok := parsePath(got.String()); !ok || again != got {
			t.Fatalf("%q: %+v, but its own path %s gives %+v, %v", path, got, got, again, ok)
		}
	})
}

func TestScopesCoverWhatLiesUnderThem(t *testing.T) {
	const vault = "/subscriptions/s/resourceGroups/g/providers/Microsoft.KeyVault/vaults/v"
	for scope, want := range map[string]bool{
		"/subscriptions/S": true, "/subscriptions/s/resourcegroups/G/": true, vault: true, vault + "/keys/k": true,
		vault + "2": false, vault + "/keys/other": false, "/subscriptions/other": false, "": true,
	} {
		if got := within(vault+"/keys/k", scope); got != want {
			t.Errorf("%q: %v, want %v", scope, got, want)
		}
	}
}

func TestPoliciesGrantByVerbWithoutRegardToCase(t *testing.T) {
	for _, tt := range []struct {
		have []string
		verb string
		want bool
	}{
		{[]string{"unwrapkey"}, "unwrapKey", true}, {[]string{"All"}, "decrypt", true}, {[]string{"get", "list"}, "decrypt", false}, {nil, "get", false},
	} {
		if got := grants(tt.have, tt.verb); got != tt.want {
			t.Errorf("%v %s: %v", tt.have, tt.verb, got)
		}
	}
}

func TestEveryOperationHasAPermission(t *testing.T) {
	s := &Service{}
	for action := range actions {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			for _, collection := range []string{"keys", "deletedkeys"} {
				for _, a := range []string{action, ""} {
					operation, handle := s.route(method, target{collection: collection, name: "n", action: a})
					if _, known := permissions[operation]; handle != nil && !known {
						t.Errorf("%s %s %s: operation %q has no permission", method, collection, a, operation)
					}
				}
			}
		}
	}
}

func TestRecoveryLevelFollowsTheVault(t *testing.T) {
	for want, v := range map[string]store.Vault{
		"Recoverable+Purgeable": {RetentionDays: 90}, "Recoverable": {RetentionDays: 90, PurgeProtection: true},
		"CustomizedRecoverable+Purgeable": {RetentionDays: 7}, "CustomizedRecoverable": {RetentionDays: 7, PurgeProtection: true},
	} {
		if got := attributesOf(&v, &store.KeyVersion{}).RecoveryLevel; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
