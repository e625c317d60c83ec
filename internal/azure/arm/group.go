package arm

import (
	"context"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

const groupsVersion = "2025-04-01"

// EnsureGroup makes a resource group. An existing one keeps its location, whatever location says: groups do not move.
//
// The two requests are written out here because the SDK's module for them is the largest of all and brings nothing
// else that is needed.
func (c *Client) EnsureGroup(ctx context.Context, name, location string) (changed bool, err error) {
	object := "resource group " + name
	status, err := c.group(ctx, http.MethodGet, name, nil, http.StatusOK, http.StatusNotFound)
	if err != nil {
		return false, explain(err, object)
	}
	if status == http.StatusOK {
		return false, nil
	}
	if _, err = c.group(ctx, http.MethodPut, name, map[string]string{"location": location}, http.StatusOK, http.StatusCreated); err != nil {
		return false, explain(err, object)
	}
	return true, nil
}

func (c *Client) group(ctx context.Context, method, name string, body any, want ...int) (int, error) {
	req, err := runtime.NewRequest(ctx, method, runtime.JoinPaths(c.rest.Endpoint(), "/subscriptions/", c.subscription, "/resourcegroups/", name))
	if err != nil {
		return 0, err
	}
	q := req.Raw().URL.Query()
	q.Set("api-version", groupsVersion)
	req.Raw().URL.RawQuery = q.Encode()
	req.Raw().Header.Set("Accept", "application/json")
	if body != nil {
		if err := runtime.MarshalAsJSON(req, body); err != nil {
			return 0, err
		}
	}
	res, err := c.rest.Pipeline().Do(req)
	if err != nil {
		return 0, err
	}
	defer runtime.Drain(res)
	if !runtime.HasStatusCode(res, want...) {
		return 0, runtime.NewResponseError(res)
	}
	return res.StatusCode, nil
}
