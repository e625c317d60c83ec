package aws

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/kms"
	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

// clusterLife is how long a token for a cluster is used. AWS takes it for 15 minutes.
const clusterLife = 10 * time.Minute

var clusterARN = lazyregexp.New(`^arn:(aws|aws-cn|aws-us-gov):eks:([a-z0-9-]{1,40}):[0-9]{1,30}:cluster/([A-Za-z0-9_-]{1,100})$`)

// Cluster is an EKS cluster as one identity sees it. It is safe for concurrent use.
type Cluster struct {
	arn, region, name, suffix string

	creds *Credentials
	opts  Options
}

// NewCluster returns the cluster with the ARN. It sends nothing. Its error says that the ARN is none of a cluster.
func NewCluster(arn string, creds *Credentials, o Options) (*Cluster, error) {
	m := clusterARN.FindStringSubmatch(arn)
	if m == nil {
		return nil, errors.New("it is not the ARN of an EKS cluster: arn:aws:eks:<region>:<account>:cluster/<name>")
	}
	c := &Cluster{arn: arn, region: m[2], name: m[3], suffix: "amazonaws.com", creds: creds, opts: o}
	if m[1] == "aws-cn" {
		c.suffix += ".cn"
	}
	return c, nil
}

// Token returns what the cluster's API server takes for a proof of the identity, and until when it is good: a request
// to STS that was signed but not sent, bound to the cluster by its header x-k8s-aws-id. The API server sends it and sees
// whom AWS names (EKS best practices, "identity and access management").
func (c *Cluster) Token(ctx context.Context) (token string, until time.Time, err error) {
	cfg, keys, err := c.signIn(ctx)
	if err != nil {
		return "", time.Time{}, err
	}
	until = time.Now().Add(clusterLife)
	if keys.CanExpire && keys.Expires.Before(until) {
		until = keys.Expires
	}
	presigner := sts.NewPresignClient(sts.NewFromConfig(cfg), sts.WithPresignClientFromClientOptions(func(o *sts.Options) {
		o.APIOptions = append(o.APIOptions, smithyhttp.SetHeaderValue("x-k8s-aws-id", c.name), smithyhttp.SetHeaderValue("X-Amz-Expires", "900"))
	}))
	req, err := presigner.PresignGetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", time.Time{}, c.refused(ctx, err)
	}
	return "k8s-aws-v1." + base64.RawURLEncoding.EncodeToString([]byte(req.URL)), until, nil
}

// Describe asks EKS where the cluster's API server is and what certificates it has. It needs eks:DescribeCluster.
func (c *Cluster) Describe(ctx context.Context) (server string, ca []byte, err error) {
	cfg, keys, err := c.signIn(ctx)
	if err != nil {
		return "", nil, err
	}
	endpoint := "https://eks." + c.region + "." + c.suffix
	if c.opts.Endpoint != "" {
		endpoint = c.opts.Endpoint
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/clusters/"+c.name, nil)
	if err != nil {
		return "", nil, err
	}
	empty := sha256.Sum256(nil)
	if err := v4.NewSigner().SignHTTP(ctx, keys, req, hex.EncodeToString(empty[:]), "eks", c.region, time.Now()); err != nil {
		return "", nil, err
	}
	do := kms.NewHTTP(nil).Do
	if cfg.HTTPClient != nil {
		do = cfg.HTTPClient.Do
	}
	var out struct {
		Cluster struct {
			Endpoint             string `json:"endpoint"`
			CertificateAuthority struct {
				Data []byte `json:"data"`
			} `json:"certificateAuthority"`
		} `json:"cluster"`
	}
	switch status, err := kms.Get(do, req, &out); {
	case err != nil:
		return "", nil, c.about().Unreachable(ctx, err)
	case status != http.StatusOK:
		return "", nil, c.about().Refusal(status)
	}
	return out.Cluster.Endpoint, out.Cluster.CertificateAuthority.Data, nil
}

func (c *Cluster) signIn(ctx context.Context) (cfg aws.Config, keys aws.Credentials, err error) {
	base, err := c.creds.base(ctx, c.region, "", c.opts)
	if err != nil {
		return cfg, keys, c.refused(ctx, err)
	}
	cfg = c.opts.config(base, c.region)
	if cfg.Credentials == nil {
		return cfg, keys, c.refused(ctx, errors.New("no credentials"))
	}
	if keys, err = cfg.Credentials.Retrieve(ctx); err != nil {
		return cfg, keys, c.refused(ctx, err)
	}
	return cfg, keys, nil
}

// refused explains an error of the sign-in. The SDK's text holds the service's.
func (c *Cluster) refused(ctx context.Context, err error) error {
	a := c.about()
	a.Host = "sts." + c.region + "." + c.suffix
	if ctx.Err() != nil {
		return a.Unreachable(ctx, err)
	}
	if f := fault.From(err); f != nil {
		return f
	}
	var res *smithyhttp.ResponseError
	var api smithy.APIError
	switch {
	case errors.As(err, &api) && errors.As(err, &res):
		code := api.ErrorCode()
		if _, known := kinds[code]; !known {
			code = ""
		}
		f := fault.From(signInRefused(Key{ARN: c.arn}, res.HTTPStatusCode(), code, kms.Forbidden))
		f.Object = a.Object()
		return f
	case fromSTS(err):
		return a.Unreachable(ctx, err)
	}
	f := noCredentials(Key{})
	f.Object = a.Object()
	return f
}

func (c *Cluster) about() kms.Cluster {
	return kms.Cluster{
		Service: "Amazon EKS", Name: c.arn, Host: "eks." + c.region + "." + c.suffix, SignIn: "aws sts get-caller-identity",
		Grant: "aws iam put-role-policy --role-name <role> --policy-name describe-" + c.name + " --policy-document '" + strings.ReplaceAll(
			`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"eks:DescribeCluster","Resource":"ARN"}]}`, "ARN", c.arn) + "'",
		Show: "aws eks describe-cluster --region " + c.region + " --name " + c.name,
	}
}
