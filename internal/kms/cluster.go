package kms

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// Cluster says whose question about a Kubernetes cluster failed, and what mends the usual causes. The clouds that hold
// keys also say where their clusters' API servers are.
type Cluster struct {
	Service string // "Amazon EKS"
	Name    string // as the ConfigMap names it
	Host    string // who was asked, for failures of the network
	SignIn  string // what mends credentials that are not accepted
	Grant   string // the command that gives the permission
	Show    string // the command that shows the cluster
}

// Object is what faults call the cluster.
func (c Cluster) Object() string { return c.Service + " cluster " + c.Name }

// Refusal is the fault of a question that was answered with a refusal.
func (c Cluster) Refusal(status int) *fault.Fault {
	kind := KindOf(status)
	f := &fault.Fault{
		Code: "SLU-KUBERNETES-023", Hop: fault.HopAPI, Object: c.Object(), Fix: c.Show,
		Why: "the service could not serve the request; it is asked again by itself",
		Err: &Refused{Status: status, denied: kind == Forbidden || kind == Unauthenticated},
	}
	f.Seen = c.Service + " answered " + f.Err.Error()
	switch kind {
	case Unauthenticated:
		f.Code, f.Why, f.Fix = "SLU-KUBERNETES-020", "it does not accept the credentials", c.SignIn
	case Forbidden:
		f.Code, f.Fix = "SLU-KUBERNETES-021", c.Grant
		f.Why = "the identity that asked may not read where the cluster's API server is"
	case NotFound:
		f.Code, f.Why = "SLU-KUBERNETES-022", "there is no such cluster"
	}
	return f
}

// Unreachable is the fault of a question that brought no answer, or the context's error.
func (c Cluster) Unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w", c.Service, c.Host, ctx.Err())
	}
	return &fault.Fault{
		Code: "SLU-KUBERNETES-024", Hop: fault.HopAPI, Object: c.Object(), Err: networkCause(err),
		Seen: c.Host + " cannot be reached", Why: "the question where the cluster's API server is brought no answer",
		Fix: "allow egress to " + c.Host + " (DNS, NetworkPolicy, HTTPS_PROXY and its CA)",
	}
}

// Get sends a request that asks, and reads the answer into out when its status is 200. Of any other answer nothing but
// the status is kept. do is an HTTP client's.
func Get(do func(*http.Request) (*http.Response, error), req *http.Request, out any) (status int, err error) {
	res, err := do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return res.StatusCode, nil
	}
	if json.NewDecoder(io.LimitReader(res.Body, maxReply)).Decode(out) != nil {
		return res.StatusCode, errNotJSON
	}
	return res.StatusCode, nil
}
