package arm

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
)

// Group is a resource group.
type Group struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Location string `json:"location"`
	State    string `json:"state"` // Succeeded or Deleting
}

// Group reads a resource group; nil when there is none.
func (c *Client) Group(ctx context.Context, name string) (*Group, error) {
	got, err := c.groups.Get(ctx, name, nil)
	var r *azcore.ResponseError
	if errors.As(err, &r) && r.StatusCode == http.StatusNotFound && codeOf(err) != "SubscriptionNotFound" {
		return nil, nil
	}
	if err != nil {
		return nil, explain(err, "resource group "+name)
	}
	return &Group{ID: deref(got.ID), Name: deref(got.Name), Location: deref(got.Location), State: deref(deref(got.Properties).ProvisioningState)}, nil
}

// EnsureGroup makes a resource group. An existing one keeps its location, whatever location says: groups do not move.
func (c *Client) EnsureGroup(ctx context.Context, name, location string) (changed bool, err error) {
	have, err := c.Group(ctx, name)
	if have != nil || err != nil {
		return false, err
	}
	changed, err = made(ctx, func(ctx context.Context) error {
		_, err := c.groups.CreateOrUpdate(ctx, name, armresources.ResourceGroup{Location: &location}, nil)
		return err
	})
	return changed, explain(err, "resource group "+name)
}

// Resource is anything in a resource group.
type Resource struct {
	ID   string `json:"id"`
	Type string `json:"type"` // such as Microsoft.KeyVault/vaults
	Name string `json:"name"`
}

// Resources lists what is in a resource group, whoever made it.
func (c *Client) Resources(ctx context.Context, group string) ([]Resource, error) {
	var all []Resource
	for pager := c.resources.NewListByResourceGroupPager(group, nil); pager.More(); {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, explain(err, "resource group "+group)
		}
		for _, r := range page.Value {
			if r != nil {
				all = append(all, Resource{ID: deref(r.ID), Type: deref(r.Type), Name: deref(r.Name)})
			}
		}
	}
	return all, nil
}

// DeleteGroup deletes a resource group with everything in it and waits until it is gone. Vaults in it can still be
// recovered, until they are purged.
func (c *Client) DeleteGroup(ctx context.Context, name string) error {
	poller, err := c.groups.BeginDelete(ctx, name, nil)
	if err == nil {
		_, err = poller.PollUntilDone(ctx, &runtime.PollUntilDoneOptions{Frequency: pollSlowly})
	}
	if strings.EqualFold(codeOf(err), "ResourceGroupNotFound") {
		return nil
	}
	return explain(err, "resource group "+name)
}
