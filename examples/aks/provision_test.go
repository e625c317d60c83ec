package aks

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/sluice-gitops/sluice/internal/azure/arm"
	"github.com/sluice-gitops/sluice/internal/azure/identity"
	"github.com/sluice-gitops/sluice/internal/emulator"
	"github.com/sluice-gitops/sluice/internal/event"
	"github.com/sluice-gitops/sluice/internal/provision"
	"github.com/sluice-gitops/sluice/internal/testkit/azureserver"
)

// bodies keeps what is put, by resource type in lower case.
type bodies struct {
	through *http.Client
	mu      sync.Mutex
	byType  map[string]map[string]any
}

var between = regexp.MustCompile(`(?i)/providers/([^/]+)/([^/?]+)/[^/?]+(?:/([^/?]+)/[^/?]+)?$`)

func (b *bodies) Do(r *http.Request) (*http.Response, error) {
	if m := between.FindStringSubmatch(r.URL.Path); m != nil && r.Method == http.MethodPut {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		var sent map[string]any
		if err := json.Unmarshal(body, &sent); err != nil {
			return nil, err
		}
		kind := strings.ToLower(strings.TrimSuffix(m[1]+"/"+m[2]+"/"+m[3], "/"))
		sent["api-version"] = r.URL.Query().Get("api-version")
		b.mu.Lock()
		if b.byType[kind] != nil {
			kind += ", again"
		}
		b.byType[kind] = sent
		b.mu.Unlock()
	}
	return b.through.Do(r)
}

// sent is what provision puts when nothing is there.
func sent(t *testing.T) map[string]map[string]any {
	t.Helper()
	e := azureserver.New(t, emulator.Options{})
	b := &bodies{through: e.HTTP, byType: map[string]map[string]any{}}
	env := e.Env()
	cred, err := identity.ForServicePrincipal(env.TenantID, env.DeveloperClientID, env.DeveloperSecret, b)
	if err != nil {
		t.Fatal(err)
	}
	c, err := arm.New(env.SubscriptionID, cred, azcore.ClientOptions{Transport: b})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provision.Run(t.Context(), c, provision.Spec{Group: "g"}, event.Discard); err != nil {
		t.Fatal(err)
	}
	return b.byType
}

var (
	comment  = regexp.MustCompile(`(?m)^\s*//.*$|\s// .*$`)
	declared = regexp.MustCompile(`(?m)^resource \w+ '([^@']+)@([^']+)' = \{`)
	token    = regexp.MustCompile(`'(?:[^'\\]|\\.)*'|[{}\[\]]|\n|[^\s{}\[\]']+`)
)

// properties reads the resources of a Bicep file: type in lower case → flattened properties, such as
// properties.sku.name → 'standard'. It knows objects, arrays and what stands on one line, which is all that is needed
// here; arrays of words become one value, of objects their last.
func properties(t *testing.T, text string) map[string]map[string]string {
	t.Helper()
	text = comment.ReplaceAllString(text, "")
	out := map[string]map[string]string{}
	for _, at := range declared.FindAllStringSubmatchIndex(text, -1) {
		kind, version := strings.ToLower(text[at[2]:at[3]]), text[at[4]:at[5]]
		flat := map[string]string{"api-version": version}
		rest := token.FindAllString(text[at[1]:], -1)
		if object(rest, "", flat) < 0 {
			t.Fatalf("%s does not end", kind)
		}
		out[kind] = flat
	}
	return out
}

// object reads tokens up to the closing brace into flat and returns how many there were, or -1.
func object(tokens []string, prefix string, flat map[string]string) int {
	key := ""
	for i := 0; i < len(tokens); i++ {
		switch tok := tokens[i]; {
		case tok == "}" || tok == "]":
			return i
		case tok == "\n":
			key = ""
		case tok == "{" || tok == "[":
			inner := prefix + key
			if key != "" {
				inner += "."
			}
			n := object(tokens[i+1:], inner, flat)
			if n < 0 {
				return -1
			}
			i += n + 1
		case key == "" && strings.HasSuffix(tok, ":"):
			key = strings.TrimSuffix(tok, ":")
		case key == "": // an element of an array of words
			name := strings.TrimSuffix(prefix, ".")
			flat[name] = strings.TrimSpace(flat[name] + " " + strings.Trim(tok, "'"))
		default:
			flat[prefix+key] = strings.TrimSpace(flat[prefix+key] + " " + strings.Trim(tok, "'"))
		}
	}
	return -1
}

// flatten gives a JSON body the same form.
func flatten(v any, prefix string, flat map[string]string) {
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			flatten(inner, strings.TrimPrefix(prefix+"."+name, "."), flat)
		}
	case []any:
		for _, inner := range v {
			if _, deep := inner.(map[string]any); deep {
				flatten(inner, prefix, flat)
			} else {
				flat[prefix] = strings.TrimSpace(flat[prefix] + " " + fmt.Sprint(inner))
			}
		}
	default:
		flat[prefix] = fmt.Sprint(v)
	}
}

// byParameter are the properties whose values the two ways take from somewhere else: how Bicep writes them.
var byParameter = map[string]string{
	"properties.enablePurgeProtection":     "enablePurgeProtection ? true : null", // with the default true
	"properties.softDeleteRetentionInDays": "softDeleteRetentionInDays",           // with the default 90
}

// TestBicepAndProvisionMakeTheSame compares every property that either of the two states by a plain value.
func TestBicepAndProvisionMakeTheSame(t *testing.T) {
	put := sent(t)
	written := map[string]map[string]string{}
	for _, name := range []string{"aks.bicep", "mi.bicep", "kv.bicep"} {
		for kind, flat := range properties(t, bicep(t, name)) {
			written[kind] = flat
		}
	}
	for kind, must := range map[string][]string{
		"microsoft.containerservice/managedclusters":                                    {"properties.oidcIssuerProfile.enabled", "properties.securityProfile.workloadIdentity.enabled", "properties.enableRBAC", "identity.type", "properties.networkProfile.networkPolicy"},
		"microsoft.managedidentity/userassignedidentities":                              {},
		"microsoft.managedidentity/userassignedidentities/federatedidentitycredentials": {"properties.audiences"},
		"microsoft.keyvault/vaults":                                                     {"properties.enableRbacAuthorization", "properties.enableSoftDelete", "properties.enablePurgeProtection", "properties.softDeleteRetentionInDays", "properties.sku.name", "properties.publicNetworkAccess"},
		"microsoft.keyvault/vaults/keys":                                                {"properties.kty", "properties.keySize", "properties.keyOps", "properties.attributes.exportable"},
	} {
		body, file := put[kind], written[kind]
		if body == nil || file == nil {
			t.Errorf("%s: sent %v, in Bicep %v", kind, body != nil, file != nil)
			continue
		}
		flat := map[string]string{}
		flatten(body, "", flat)
		for _, name := range must {
			if flat[name] == "" || file[name] == "" {
				t.Errorf("%s: %s is %q in what is sent and %q in Bicep", kind, name, flat[name], file[name])
			}
		}
		for name, value := range flat {
			in := file[name]
			if want, parameter := byParameter[name]; parameter {
				if in != want {
					t.Errorf("%s: %s is %q in Bicep, want %q", kind, name, in, want)
				}
				continue
			}
			if plain(in) && in != value && name != "api-version" {
				t.Errorf("%s: %s is %q in what is sent and %q in Bicep", kind, name, value, in)
			}
		}
		for name, in := range file {
			if _, there := flat[name]; plain(in) && !there && name != "parent" && !strings.HasPrefix(name, "properties.aadProfile.") { // only with Entra groups given
				t.Errorf("%s: %s is %q in Bicep and not sent", kind, name, in)
			}
		}
	}
	kv := bicep(t, "kv.bicep")
	for _, rule := range []string{`param enablePurgeProtection bool = true`, `param softDeleteRetentionInDays int = 90`} {
		if !strings.Contains(kv, rule) {
			t.Errorf("kv.bicep lacks %q", rule)
		}
	}
	for name, value := range map[string]string{"keyName": provision.DefaultKey, "clusterName": provision.DefaultCluster, "identityName": provision.DefaultIdentity} {
		if !strings.Contains(bicep(t, "main.bicep"), "param "+name+" string = '"+value+"'") {
			t.Errorf("main.bicep does not call %s %s, as provision does", name, value)
		}
	}
}

// plain says whether a Bicep value is a literal. Parameters, functions and expressions are not.
func plain(v string) bool {
	if v == "true" || v == "false" || regexp.MustCompile(`^\d+$`).MatchString(v) {
		return true
	}
	return v != "" && !strings.ContainsAny(v, "$?().") && !regexp.MustCompile(`^(name|location|vmSize|nodeCount|entra|oidcIssuerURL|identity|vault|keyName|softDeleteRetentionInDays|authorizedIPRanges|adminGroupObjectIds)$`).MatchString(v)
}

// TestBicepGivesThePermissionsThatProvisionGives reads the lists in kv.bicep and what stands in the vault afterwards.
func TestBicepGivesThePermissionsThatProvisionGives(t *testing.T) {
	squeezed := regexp.MustCompile(`\s+`).ReplaceAllString(bicep(t, "kv.bicep"), " ")
	lists := map[string]string{}
	for _, m := range regexp.MustCompile(`objectId: (\w+) permissions: \{ keys: \[ ([^\]]*)\]`).FindAllStringSubmatch(squeezed, -1) {
		lists[m[1]] = strings.NewReplacer("'", "", " ", " ").Replace(strings.TrimSpace(m[2]))
	}
	put := sent(t)
	for who, kind := range map[string]string{"controllerPrincipalId": "microsoft.keyvault/vaults/accesspolicies", "developerObjectId": "microsoft.keyvault/vaults/accesspolicies, again"} {
		flat := map[string]string{}
		flatten(put[kind], "", flat)
		if got := flat["properties.accessPolicies.permissions.keys"]; got == "" || got != lists[who] {
			t.Errorf("%s: %q is sent, %q is in Bicep", who, got, lists[who])
		}
	}
}
