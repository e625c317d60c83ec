package cloud

import (
	"slices"
	"testing"
)

func TestACloudIsRecognisedByEntraAndByItsVaults(t *testing.T) {
	for _, tt := range []struct {
		cloud                   Cloud
		authority, vault, scope string
	}{
		{Public, "https://login.microsoftonline.com/", "https://v.vault.azure.net/keys/k/1", "https://vault.azure.net/.default"},
		{Public, "", "https://h.managedhsm.azure.net", "https://vault.azure.net/.default"},
		{USGovernment, "https://login.microsoftonline.us", "https://V.Vault.usgovcloudapi.net/keys/k", "https://vault.usgovcloudapi.net/.default"},
		{China, "https://login.partner.microsoftonline.cn/", "v.vault.azure.cn", "https://vault.azure.cn/.default"},
		{China, "https://login.chinacloudapi.cn/tenant", "https://vault.azure.cn/.default", "https://vault.azure.cn/.default"},
	} {
		if c, ok := OfAuthority(tt.authority); !ok || c.Name != tt.cloud.Name {
			t.Errorf("%s is of %q", tt.authority, c.Name)
		}
		if c, ok := OfVault(tt.vault); !ok || c.Name != tt.cloud.Name {
			t.Errorf("%s is of %q", tt.vault, c.Name)
		}
		if got := tt.cloud.VaultScope(); got != tt.scope {
			t.Errorf("scope %s, want %s", got, tt.scope)
		}
	}
	for _, nobodys := range []string{"https://login.example.com/", "https://login.microsoftonline.com.example.com/", "login"} {
		if c, ok := OfAuthority(nobodys); ok {
			t.Errorf("%s is of %s", nobodys, c.Name)
		}
	}
	for _, nobodys := range []string{"", "https://vault.example.com", "https://xvault.azure.net", "https://v.vault.azure.net.example.com"} {
		if c, ok := OfVault(nobodys); ok {
			t.Errorf("%s is of %s", nobodys, c.Name)
		}
	}
}

func TestEachCloudHasItsOwnResourceManagerAndAudience(t *testing.T) {
	for name, want := range map[string][3]string{
		"AzureCloud":        {"https://management.azure.com", "https://management.core.windows.net//.default", TokenExchange},
		"AzureUSGovernment": {"https://management.usgovcloudapi.net", "https://management.core.usgovcloudapi.net//.default", "api://AzureADTokenExchangeUSGov"},
		"AzureChinaCloud":   {"https://management.chinacloudapi.cn", "https://management.core.chinacloudapi.cn//.default", "api://AzureADTokenExchangeChina"},
	} {
		i := slices.IndexFunc(All(), func(c Cloud) bool { return c.Name == name })
		if i < 0 {
			t.Fatalf("no cloud %s", name)
		}
		c := All()[i]
		if got := [3]string{c.Management(), c.ManagementScope(), c.Audience}; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		if c.Audiences()[0] != TokenExchange || !slices.Contains(c.Audiences(), c.Audience) || !Exchanges(c.Audience) {
			t.Errorf("%s: audiences %q", name, c.Audiences())
		}
	}
	if Exchanges("https://kubernetes.default.svc") || len(VaultSuffixes()) != 6 {
		t.Error("an audience of nobody's is exchanged, or a suffix is missing")
	}
}

func TestCommandsOfASovereignCloudSayWhichCloud(t *testing.T) {
	for _, tt := range []struct {
		cloud      Cloud
		text, want string
	}{
		{Public, "az keyvault list", "az keyvault list"},
		{Cloud{}, "az keyvault list", "az keyvault list"},
		{China, "az keyvault list", "az cloud set --name AzureChinaCloud && az keyvault list"},
		{China, China.Command("az keyvault list"), "az cloud set --name AzureChinaCloud && az keyvault list"},
		{USGovernment, "kubectl annotate sa x=$(az account show)", "az cloud set --name AzureUSGovernment && kubectl annotate sa x=$(az account show)"},
		{USGovernment, "kubectl rollout restart", "kubectl rollout restart"},
	} {
		if got := tt.cloud.Command(tt.text); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
