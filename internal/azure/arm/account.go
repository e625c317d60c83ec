package arm

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azarm "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// Principal is who runs the command.
type Principal struct {
	ObjectID string `json:"objectId"` // what access policies and role assignments name
	TenantID string `json:"tenantId"`
	Type     string `json:"type"` // User or ServicePrincipal, as role assignments spell it
}

// WhoAmI reads from the access token itself who the credential stands for, which needs no permission in the directory.
func (c *Client) WhoAmI(ctx context.Context) (Principal, error) {
	services := c.options.Cloud.Services
	if len(services) == 0 {
		services = cloud.AzurePublic.Services
	}
	token, err := c.cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{services[cloud.ResourceManager].Audience + "/.default"}})
	if err != nil {
		return Principal{}, explain(err, "the person at the keyboard")
	}
	var claims struct {
		OID   string `json:"oid"`
		TID   string `json:"tid"`
		Kind  string `json:"idtyp"`
		Scope string `json:"scp"`
	}
	parts := strings.Split(token.Token, ".")
	if len(parts) == 3 {
		raw, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(raw, &claims)
	}
	if claims.OID == "" || claims.TID == "" {
		return Principal{}, &fault.Fault{Code: "SLU-ARM-031", Hop: fault.HopARM, Object: "the person at the keyboard", Seen: "the access token names no object id",
			Why: "whoever it stands for cannot be given access to the vault", Fix: "az login"}
	}
	p := Principal{ObjectID: claims.OID, TenantID: claims.TID, Type: "ServicePrincipal"}
	if claims.Kind == "user" || claims.Kind == "" && claims.Scope != "" {
		p.Type = "User" // only tokens on behalf of people have delegated scopes
	}
	return p, nil
}

// Account is a subscription that a credential can see.
type Account struct {
	ID   string `json:"subscriptionId"`
	Name string `json:"displayName"`
}

// Accounts lists the subscriptions that cred has a role in.
func Accounts(ctx context.Context, cred azcore.TokenCredential, o azcore.ClientOptions) ([]Account, error) {
	rest, err := azarm.NewClient("github.com/sluice-gitops/sluice/internal/azure/arm", "v1.0.0", cred, &azarm.ClientOptions{ClientOptions: o})
	if err != nil {
		return nil, explain(err, "subscriptions")
	}
	req, err := runtime.NewRequest(ctx, http.MethodGet, runtime.JoinPaths(rest.Endpoint(), "/subscriptions")+"?api-version=2022-12-01")
	if err != nil {
		return nil, err
	}
	res, err := rest.Pipeline().Do(req)
	if err != nil {
		return nil, explain(err, "subscriptions")
	}
	defer runtime.Drain(res)
	if !runtime.HasStatusCode(res, http.StatusOK) {
		return nil, explain(runtime.NewResponseError(res), "subscriptions")
	}
	var list struct {
		Value []Account `json:"value"`
	}
	err = runtime.UnmarshalAsJSON(res, &list)
	return list.Value, err
}
