package gcp

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/kms"
	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

// clusterName is a cluster's resource name, in characters that mean themselves in a URL.
var clusterName = lazyregexp.New(`^projects/([A-Za-z0-9:.-]+)/locations/([A-Za-z0-9-]+)/clusters/([A-Za-z0-9-]+)$`)

// clusterSlack is how long before its end a token is no longer used.
const clusterSlack = time.Minute

// Cluster is a GKE cluster as one identity sees it. It is safe for concurrent use.
type Cluster struct {
	name   string
	tokens oauth2.TokenSource
	opts   Options
}

// NewCluster returns a cluster: projects/…/locations/…/clusters/…, or "" for one that is never described. tokens are as
// for New, o.Endpoint is that of https://container.googleapis.com. It sends nothing. Its error says that the name is none
// of a cluster.
func NewCluster(name string, tokens oauth2.TokenSource, o Options) (*Cluster, error) {
	if name != "" && !clusterName.MatchString(name) {
		return nil, errors.New("it is not the name of a GKE cluster: projects/<project>/locations/<location>/clusters/<name>")
	}
	if o.HTTP == nil {
		o.HTTP = kms.NewHTTP(nil)
	}
	if o.Endpoint == "" {
		o.Endpoint = "https://container.googleapis.com"
	}
	return &Cluster{name, tokens, o}, nil
}

// Token returns what the cluster's API server takes for a proof of the identity, and until when it is good: an access
// token of Google's, for everything that the identity may do there.
func (c *Cluster) Token(ctx context.Context) (token string, until time.Time, err error) {
	got, err := tokenOf(ctx, c.tokens)
	if err == nil {
		if until = got.Expiry.Add(-clusterSlack); got.Expiry.IsZero() {
			until = time.Now().Add(clusterSlack)
		}
		return got.AccessToken, until, nil
	}
	a := c.about()
	told := signInFailed(ctx, kms.Key{Service: a.Service, Name: a.Name, Host: a.Host, SignIn: a.SignIn}, err)
	if f := fault.From(told); f != nil && f != fault.From(err) {
		f.Object = a.Object()
	}
	return "", time.Time{}, told
}

// Describe asks Google where the cluster's API server is and what certificates it has. It needs container.clusters.get.
func (c *Cluster) Describe(ctx context.Context) (server string, ca []byte, err error) {
	if c.name == "" {
		return "", nil, errors.New("no cluster is named")
	}
	token, _, err := c.Token(ctx)
	if err != nil {
		return "", nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.opts.Endpoint+"/v1/"+c.name, nil)
	if err != nil {
		return "", nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	var out struct {
		Endpoint   string `json:"endpoint"` // an address without a scheme
		MasterAuth struct {
			CA []byte `json:"clusterCaCertificate"`
		} `json:"masterAuth"`
	}
	switch status, err := kms.Get(c.opts.HTTP.Do, req, &out); {
	case err != nil:
		return "", nil, c.about().Unreachable(ctx, err)
	case status != http.StatusOK:
		return "", nil, c.about().Refusal(status)
	}
	return out.Endpoint, out.MasterAuth.CA, nil
}

func (c *Cluster) about() kms.Cluster {
	project, location, name := "<project>", "<location>", "<cluster>"
	if m := clusterName.FindStringSubmatch(c.name); m != nil {
		project, location, name = m[1], m[2], m[3]
	}
	return kms.Cluster{
		Service: "Google Kubernetes Engine", Name: c.name, Host: strings.TrimPrefix(c.opts.Endpoint, "https://"),
		SignIn: "gcloud auth application-default login",
		Grant:  "gcloud projects add-iam-policy-binding " + project + " --member=serviceAccount:<email> --role=roles/container.clusterViewer",
		Show:   "gcloud container clusters describe " + name + " --project " + project + " --location " + location,
	}
}
