package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azruntime "github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sluice-gitops/sluice/internal/azure/cloud"
)

// Remedy mends a broken hop: as commands to copy, and in a form that Apply carries out.
type Remedy struct {
	Commands []string `json:"commands"`       // complete, each does the whole; the first is the fault's Fix
	Keep     string   `json:"keep,omitempty"` // what to commit, or the next reconcile takes the change back
	// Safe remedies are applied by --fix: they give nobody more than the chain was made to give.
	Safe     bool      `json:"safe"`
	Patch    *Patch    `json:"patch,omitempty"`
	Requests []Request `json:"requests,omitempty"` // in this order
}

// Patch is a JSON merge patch of one Kubernetes object.
type Patch struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Namespace  string         `json:"namespace"`
	Name       string         `json:"name"`
	Merge      map[string]any `json:"merge"`
}

// Request is a call of an Azure REST API as the developer.
type Request struct {
	Method string `json:"method"`
	URL    string `json:"url"`
	Body   any    `json:"body,omitempty"`
}

// Applicable says whether Apply can carry the remedy out.
func (r *Remedy) Applicable() bool { return r != nil && (r.Patch != nil || len(r.Requests) > 0) }

// fieldManager marks what --fix changes, so that the next server-side apply can tell whose it was.
const fieldManager = "sluice-doctor"

// Apply carries r out: the patch first, then the requests, in order. The caller has shown it before.
func Apply(ctx context.Context, o Options, r *Remedy) error {
	if p := r.Patch; p != nil {
		data, err := json.Marshal(p.Merge)
		if err != nil {
			return err
		}
		obj := &unstructured.Unstructured{}
		obj.SetAPIVersion(p.APIVersion)
		obj.SetKind(p.Kind)
		obj.SetNamespace(p.Namespace)
		obj.SetName(p.Name)
		if err := o.Client.Patch(ctx, obj, client.RawPatch(types.MergePatchType, data), client.FieldOwner(fieldManager)); err != nil {
			return fmt.Errorf("%s %s/%s: %w", p.Kind, p.Namespace, p.Name, err)
		}
	}
	for _, q := range r.Requests {
		if o.Azure == nil {
			return fmt.Errorf("%s %s: %w", q.Method, q.URL, errNoAzure)
		}
		if err := call(ctx, o.Azure, o.AzureOptions, q, nil); err != nil {
			return fmt.Errorf("%s %s: %w", q.Method, q.URL, err)
		}
	}
	return nil
}

// call sends one authorized request to Resource Manager or Key Vault and decodes the answer into out, if it is not nil.
func call(ctx context.Context, cred azcore.TokenCredential, o azcore.ClientOptions, q Request, out any) error {
	scope, isVault := "", false
	if c, ok := cloud.OfVault(q.URL); ok {
		scope, isVault = c.VaultScope(), true
	} else if c, ok := managed(q.URL); ok {
		scope = c.ManagementScope()
	} else {
		return errNoCloud
	}
	pl := azruntime.NewPipeline("github.com/sluice-gitops/sluice/internal/doctor", "v1.0.0", azruntime.PipelineOptions{
		PerRetry: []azPolicy{azruntime.NewBearerTokenPolicy(cred, []string{scope}, nil)},
	}, &o)
	req, err := azruntime.NewRequest(ctx, q.Method, q.URL)
	if err != nil {
		return err
	}
	req.Raw().Header.Set("Accept", "application/json")
	if q.Body != nil {
		if err := azruntime.MarshalAsJSON(req, q.Body); err != nil {
			return err
		}
	}
	res, err := pl.Do(req)
	if err != nil {
		return err
	}
	defer azruntime.Drain(res)
	if !azruntime.HasStatusCode(res, http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent) {
		return azruntime.NewResponseError(res)
	}
	if q.Method != http.MethodGet && !isVault {
		// What Resource Manager began is waited for: the next look must see it done.
		poller, err := azruntime.NewPoller[map[string]any](res, pl, nil)
		if err != nil {
			return err
		}
		_, err = poller.PollUntilDone(ctx, &azruntime.PollUntilDoneOptions{Frequency: pollEvery})
		return err
	}
	if out == nil || res.StatusCode == http.StatusNoContent {
		return nil
	}
	return azruntime.UnmarshalAsJSON(res, out)
}

var errNoCloud = errors.New("the address is of none of Azure's clouds")

// managed finds the cloud whose Resource Manager address names. No other host is sent a token.
func managed(address string) (cloud.Cloud, bool) {
	for _, c := range cloud.All() {
		if strings.HasPrefix(address, c.Management()+"/") {
			return c, true
		}
	}
	return cloud.Cloud{}, false
}

// pollEvery paces the wait for Resource Manager where it names no pace itself.
const pollEvery = time.Second
