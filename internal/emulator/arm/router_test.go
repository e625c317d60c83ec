package arm

import (
	"strings"
	"testing"
)

// FuzzMatch: a matched path has as many segments as its route, every variable filled with one of them.
func FuzzMatch(f *testing.F) {
	routes := (&Service{}).table()
	f.Fuzz(func(t *testing.T, method, path string) {
		found, vars, err := match(routes, method, path)
		if err != nil {
			return
		}
		if found.method != method || found.handle == nil {
			t.Fatalf("%s %q gives %s", method, path, found.operation)
		}
		for name, value := range vars {
			if value == "" || !strings.Contains(path, value) || name != "scope" && strings.Contains(value, "/") {
				t.Fatalf("%s %q: %s=%q", method, path, name, value)
			}
		}
	})
}

func TestRoutesAreUniqueAndNamed(t *testing.T) {
	seen := map[string]bool{}
	for _, rt := range (&Service{}).table() {
		key := rt.method + " " + strings.ToLower(strings.Join(rt.path, "/"))
		if seen[key] || rt.operation == "" {
			t.Errorf("%s: twice, or without a name", key)
		}
		seen[key] = true
	}
}

func TestExtensionResourcesHangOnAnyScope(t *testing.T) {
	routes := (&Service{}).table()
	for path, scope := range map[string]string{
		"/subscriptions/s/providers/Microsoft.Authorization/roleAssignments/a":                  "/subscriptions/s",
		"/subscriptions/s/resourceGroups/g/providers/microsoft.authorization/roleassignments/a": "/subscriptions/s/resourceGroups/g",
	} {
		found, vars, err := match(routes, "PUT", path)
		if err != nil || found.operation != "put-role-assignment" || vars["scope"] != scope || vars["subscription"] != "s" || vars["assignment"] != "a" {
			t.Errorf("%s: %v %v", path, vars, err)
		}
	}
	if _, _, err := match(routes, "PUT", "/providers/Microsoft.Authorization/roleAssignments/a"); err == nil {
		t.Error("an assignment needs a scope")
	}
}
