// Package cloud knows Azure's clouds, which share nothing but their protocols: each has an Entra ID, a Resource Manager
// and vault domains of its own, and the az command must be told which one is meant.
//
// Sign-in, vaults, Resource Manager and the doctor all ask here, so that no two of them can disagree on where a cluster
// is. A cloud is recognised by the host of its Entra ID or of one of its vaults; an address of neither is nobody's, and
// the package refuses to guess.
package cloud

import (
	"net/url"
	"slices"
	"strings"

	sdk "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"

	// Fills in where the SDK's clouds have their Resource Manager.
	_ "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm/runtime"
)

// Cloud is one of Azure's clouds.
type Cloud struct {
	Name      string // as `az cloud list` has it
	Authority string // of Entra ID, as the workload identity webhook spells it: an https URL that ends in a slash
	Audience  string // that Entra ID of this cloud documents for tokens to be exchanged, beside TokenExchange

	hosts  []string // of Entra ID, all of them
	vaults []string // DNS suffixes of Key Vault and Managed HSM, each with its leading dot
	config sdk.Configuration
}

// TokenExchange is the audience that AKS's webhook and Flux ask for in every cloud (learn.microsoft.com/azure/aks,
// workload-identity-overview). Entra ID's own documentation gives each sovereign cloud another one; what counts is that
// token and federated credential say the same.
const TokenExchange = "api://AzureADTokenExchange"

// The clouds that serve customers. Hosts and suffixes are those of `az cloud show`.
var (
	Public = Cloud{
		Name: "AzureCloud", Authority: "https://login.microsoftonline.com/", Audience: TokenExchange, config: sdk.AzurePublic,
		hosts:  []string{"login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"},
		vaults: []string{".vault.azure.net", ".managedhsm.azure.net"},
	}
	USGovernment = Cloud{
		Name: "AzureUSGovernment", Authority: "https://login.microsoftonline.us/", Audience: TokenExchange + "USGov", config: sdk.AzureGovernment,
		hosts:  []string{"login.microsoftonline.us", "login.usgovcloudapi.net"},
		vaults: []string{".vault.usgovcloudapi.net", ".managedhsm.usgovcloudapi.net"},
	}
	China = Cloud{
		Name: "AzureChinaCloud", Authority: "https://login.chinacloudapi.cn/", Audience: TokenExchange + "China", config: sdk.AzureChina,
		hosts:  []string{"login.chinacloudapi.cn", "login.partner.microsoftonline.cn"},
		vaults: []string{".vault.azure.cn", ".managedhsm.azure.cn"},
	}
)

// All are the clouds, the public one first.
func All() []Cloud { return []Cloud{Public, China, USGovernment} }

// OfAuthority returns the cloud whose Entra ID address names; the empty address is the public cloud's. ok is false for
// any other host.
func OfAuthority(address string) (c Cloud, ok bool) {
	if address == "" {
		return Public, true
	}
	host := hostOf(address)
	for _, c := range All() {
		if slices.Contains(c.hosts, host) {
			return c, true
		}
	}
	return Cloud{}, false
}

// OfVault returns the cloud in whose domain address lies: a vault's, or one of its keys', or what tokens for vaults are
// made out to. ok is false for any other host.
func OfVault(address string) (c Cloud, ok bool) {
	host := hostOf(address)
	for _, c := range All() {
		for _, suffix := range c.vaults {
			if strings.HasSuffix("."+host, suffix) {
				return c, true
			}
		}
	}
	return Cloud{}, false
}

func hostOf(address string) string {
	if u, err := url.Parse(address); err == nil && u.Hostname() != "" {
		return strings.ToLower(u.Hostname())
	}
	host, _, _ := strings.Cut(strings.ToLower(address), "/")
	return host
}

// VaultSuffixes are the DNS suffixes of vaults in all clouds, each with its leading dot.
func VaultSuffixes() (all []string) {
	for _, c := range All() {
		all = append(all, c.vaults...)
	}
	return all
}

// VaultScope is what an access token for the cloud's vaults is asked for.
func (c Cloud) VaultScope() string { return "https://" + c.vaults[0][1:] + "/.default" }

// Management is the address of the cloud's Resource Manager, without a trailing slash.
func (c Cloud) Management() string {
	return strings.TrimSuffix(c.config.Services[sdk.ResourceManager].Endpoint, "/")
}

// ManagementScope is what an access token for Resource Manager is asked for.
func (c Cloud) ManagementScope() string {
	return c.config.Services[sdk.ResourceManager].Audience + "/.default"
}

// SDK is the cloud as the Azure SDK's clients take it.
func (c Cloud) SDK() sdk.Configuration { return c.config }

// Audiences are those that a token may carry to be exchanged at this cloud's Entra ID; the first is what is asked for
// where nothing says otherwise.
func (c Cloud) Audiences() []string {
	if c.Audience == TokenExchange {
		return []string{TokenExchange}
	}
	return []string{TokenExchange, c.Audience}
}

// Exchanges says whether audience is one for which some cloud's Entra ID exchanges tokens.
func Exchanges(audience string) bool {
	return slices.ContainsFunc(All(), func(c Cloud) bool { return slices.Contains(c.Audiences(), audience) })
}

// Command makes a command that calls az work in this cloud: az keeps a sign-in for each, and acts in the one that it was
// set to last. Other texts, and all commands of the public cloud, stay as they are.
func (c Cloud) Command(text string) string {
	if c.Name == "" || c.Name == Public.Name || strings.HasPrefix(text, "az cloud set ") || !strings.HasPrefix(text, "az ") && !strings.Contains(text, "$(az ") {
		return text
	}
	return "az cloud set --name " + c.Name + " && " + text
}
