package aks

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// There is no Bicep compiler to be had here, so these tests read the files as text: what must stand in them for the
// chain to work and to be safe does, and what one module asks for another gives.

func bicep(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("iac", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestBicepStatesWhatTheChainAndItsSafetyNeed(t *testing.T) {
	squeeze := regexp.MustCompile(`\s+`)
	for name, wants := range map[string][]string{
		"aks.bicep": {
			"oidcIssuerProfile: { enabled: true }",
			"workloadIdentity: { enabled: true }",
			"enableRBAC: true",
			"output oidcIssuerURL string = cluster.properties.oidcIssuerProfile.issuerURL",
		},
		"mi.bicep": {
			"issuer: oidcIssuerURL",
			"subject: 'system:serviceaccount:${namespace}:${serviceAccount}'",
			"audiences: [ 'api://AzureADTokenExchange' ]",
			"param namespace string = 'flux-system'",
			"param serviceAccount string = 'kustomize-controller'",
		},
		"kv.bicep": {
			"enableRbacAuthorization: false",
			"enableSoftDelete: true",
			"enablePurgeProtection: enablePurgeProtection ? true : null",
			"objectId: controllerPrincipalId permissions: { keys: [ 'get' 'decrypt' ] }",
			"kty: 'RSA' keySize: 3072 keyOps: [ 'encrypt' 'decrypt' ]",
			"exportable: false",
		},
	} {
		text := squeeze.ReplaceAllString(bicep(t, name), " ")
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q", name, want)
			}
		}
	}
}

func TestBicepModulesAgreeOnParametersAndOutputs(t *testing.T) {
	main := bicep(t, "main.bicep")
	for module, body := range map[string]string{"aks": bicep(t, "aks.bicep"), "mi": bicep(t, "mi.bicep"), "kv": bicep(t, "kv.bicep")} {
		block := regexp.MustCompile(`(?s)module ` + module + ` '` + module + `\.bicep' = \{.*?params: \{(.*?)\n  \}`).FindStringSubmatch(main)
		if block == nil {
			t.Errorf("main.bicep has no module %s", module)
			continue
		}
		given := map[string]bool{}
		for _, m := range regexp.MustCompile(`(?m)^\s+(\w+): `).FindAllStringSubmatch(block[1], -1) {
			given[m[1]] = true
			if !regexp.MustCompile(`(?m)^param ` + m[1] + ` `).MatchString(body) {
				t.Errorf("main.bicep gives %s the parameter %s, which it does not have", module, m[1])
			}
		}
		for _, m := range regexp.MustCompile(`(?m)^param (\w+) \w+$`).FindAllStringSubmatch(body, -1) {
			if !given[m[1]] {
				t.Errorf("main.bicep does not give %s its required parameter %s", module, m[1])
			}
		}
		for _, m := range regexp.MustCompile(module+`\.outputs\.(\w+)`).FindAllStringSubmatch(main, -1) {
			if !strings.Contains(body, "output "+m[1]+" ") {
				t.Errorf("main.bicep reads %s.outputs.%s, which does not exist", module, m[1])
			}
		}
	}
}

func TestBicepBracketsBalance(t *testing.T) {
	for _, name := range []string{"aks.bicep", "mi.bicep", "kv.bicep", "main.bicep"} {
		text := regexp.MustCompile(`(?m)//.*$`).ReplaceAllString(bicep(t, name), "")
		for _, pair := range []string{"{}", "[]", "()"} {
			if open, closed := strings.Count(text, pair[:1]), strings.Count(text, pair[1:]); open != closed {
				t.Errorf("%s: %d %q and %d %q", name, open, pair[:1], closed, pair[1:])
			}
		}
	}
}
