package identity

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sluice-gitops/sluice/internal/azure/cloud"
	"github.com/sluice-gitops/sluice/internal/fault"
)

func TestAnAccountsFaultsNameItAndWhatItLacks(t *testing.T) {
	a := Account{"apps", "tenant"}
	gone := apierrors.NewNotFound(schema.GroupResource{Resource: "serviceaccounts"}, "tenant")
	for _, tt := range []struct {
		f    *fault.Fault
		code string
		want []string
	}{
		{a.Unannotated(TenantAnnotation), "SLU-IDENTITY-090", []string{"lacks the annotation " + TenantAnnotation, "kubectl annotate serviceaccount -n apps tenant --overwrite " + TenantAnnotation + "=$(az account show"}},
		{a.Unannotated(ClientAnnotation, TenantAnnotation), "SLU-IDENTITY-090", []string{ClientAnnotation + " and " + TenantAnnotation, ClientAnnotation + "=$(az identity show"}},
		{a.Unread(gone, "spec.decryption.serviceAccountName"), "SLU-IDENTITY-091", []string{"apps/tenant cannot be read", "kubectl create serviceaccount tenant -n apps, or correct spec.decryption.serviceAccountName"}},
		{a.Unread(errors.New("is forbidden"), ""), "SLU-IDENTITY-091", []string{"grant the controller get on serviceaccounts in namespace apps"}},
	} {
		text := tt.f.Multiline()
		if tt.f.Code != tt.code || tt.f.Object != "ServiceAccount/apps/tenant" {
			t.Errorf("%+v, want %s", tt.f, tt.code)
		}
		for _, want := range tt.want {
			if !strings.Contains(text, want) {
				t.Errorf("no %q in\n%s", want, text)
			}
		}
	}
}

func TestWhatIsForeseenIsToldOfTheAccountThatWouldSignIn(t *testing.T) {
	cfg := Config{ClientID: client, TenantID: tenant, Account: Account{"apps", "tenant"}}
	c := Claims{Issuer: "https://issuer/", Audience: []string{cloud.TokenExchange}}
	for code, want := range map[int]string{
		700016: "serviceaccount -n apps tenant", 700024: "kubectl create token -n apps tenant", 90002: "serviceaccount -n apps tenant", 7000272: "/openid/v1/jwks",
	} {
		if fix := Foresee(code, "seen", cfg, c).Fix; !strings.Contains(fix, want) || strings.Contains(fix, "kustomize-controller") {
			t.Errorf("AADSTS%d: fix %q, want %q", code, fix, want)
		}
	}
	for _, f := range []*fault.Fault{Unreadable(cfg, errors.New("x")), Malformed(cfg)} {
		if !strings.Contains(f.Seen, "apps/tenant") {
			t.Errorf("%s does not name the account", f.Seen)
		}
	}
}

// Nothing is sent to the Entra ID of a cloud in which neither tenant nor vault can be.
func TestAVaultOfAnotherCloudIsToldBeforeAnythingIsSent(t *testing.T) {
	for _, tt := range []struct {
		authority, scope, want string
	}{
		{"", cloud.USGovernment.VaultScope(), "AZURE_AUTHORITY_HOST is not set, which means AzureCloud; the vault is in AzureUSGovernment"},
		{"https://login.microsoftonline.com/", cloud.China.VaultScope(), "AZURE_AUTHORITY_HOST=https://login.chinacloudapi.cn/"},
		{"https://login.microsoftonline.us/", cloud.Public.VaultScope(), "AZURE_AUTHORITY_HOST=https://login.microsoftonline.com/"},
	} {
		w, err := New(Config{ClientID: client, TenantID: tenant, AuthorityHost: tt.authority, Assertion: func(context.Context) (string, error) {
			t.Error("a token was asked for")
			return "", errors.New("no")
		}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{tt.scope}})
		if f := fault.From(err); f == nil || f.Code != "SLU-IDENTITY-005" || !strings.Contains(f.Multiline(), tt.want) {
			t.Errorf("%q and %s: %v", tt.authority, tt.scope, err)
		}
	}
	for _, tt := range [][2]string{{"", cloud.Public.VaultScope()}, {"https://login.partner.microsoftonline.cn", cloud.China.VaultScope()},
		{"https://login.example.com/", cloud.China.VaultScope()}, {"", "https://storage.azure.com/.default"}} {
		if f := OtherCloud(Config{AuthorityHost: tt[0]}, tt[1]); f != nil {
			t.Errorf("%q and %s: %v", tt[0], tt[1], f)
		}
	}
}

func TestASovereignCloudsRefusalsSayWhichCloudTheCommandIsFor(t *testing.T) {
	f := Foresee(700213, "seen", Config{ClientID: client, TenantID: tenant, AuthorityHost: cloud.USGovernment.Authority}, Claims{})
	if !strings.HasPrefix(f.Fix, "az cloud set --name AzureUSGovernment && set -- $(az identity list") {
		t.Errorf("fix %q", f.Fix)
	}
}
