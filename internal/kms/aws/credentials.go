package aws

import (
	"context"
	"errors"
	"os"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/kms"
)

// Credentials are an identity's way to sign requests, one for each region, because a session is had of the region's own
// STS. They are safe for concurrent use; two Credentials are never equal.
type Credentials struct {
	load func(ctx context.Context, region, profile string, o Options) (aws.Config, error)

	mu    sync.Mutex
	known map[string]aws.Config
}

func (c *Credentials) base(ctx context.Context, region, profile string, o Options) (aws.Config, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := region + " " + profile
	if cfg, ok := c.known[key]; ok {
		return cfg, nil
	}
	cfg, err := c.load(ctx, region, profile, o)
	if err != nil {
		return cfg, err
	}
	if c.known == nil {
		c.known = map[string]aws.Config{}
	}
	c.known[key] = cfg
	return cfg, nil
}

// Renew forgets the sessions: the next client begins its own.
func (c *Credentials) Renew() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = nil
}

// Static returns the credentials of an access key. session may be empty.
func Static(id, secret, session string) *Credentials {
	p := credentials.NewStaticCredentialsProvider(id, secret, session)
	return &Credentials{load: func(context.Context, string, string, Options) (aws.Config, error) {
		return aws.Config{Credentials: p}, nil
	}}
}

// WebIdentity returns the credentials of a role that is assumed with a service-account token. token is asked once a
// session. Its error names a role that is none.
func WebIdentity(role, session string, token func(context.Context) (string, error)) (*Credentials, error) {
	if !roleARN.MatchString(role) {
		return nil, errors.New("it is not the ARN of an IAM role: arn:aws:iam::<account>:role/<name>")
	}
	return &Credentials{load: func(_ context.Context, region, _ string, o Options) (aws.Config, error) {
		name := session
		if len(name) > 64 { // of an STS session name
			name = name[:64]
		}
		client := sts.NewFromConfig(o.config(aws.Config{Credentials: aws.AnonymousCredentials{}}, region))
		p := stscreds.NewWebIdentityRoleProvider(client, role, retriever(token), func(w *stscreds.WebIdentityRoleOptions) { w.RoleSessionName = name })
		return aws.Config{Credentials: aws.NewCredentialsCache(p)}, nil
	}}, nil
}

// retriever gives the SDK its token. The SDK passes no context.
type retriever func(context.Context) (string, error)

func (r retriever) GetIdentityToken() ([]byte, error) {
	token, err := r(context.Background())
	return []byte(token), err
}

// FromEnvironment returns the controller's own identity, as EKS describes it in the pod's environment: AWS_ROLE_ARN and
// AWS_WEB_IDENTITY_TOKEN_FILE, the pod identity agent's AWS_CONTAINER_CREDENTIALS_FULL_URI, or a static access key. The
// node's role is never used. Without any of them the error is a fault of hop "identity".
func FromEnvironment() (*Credentials, error) {
	given := false
	for _, v := range []string{"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_ACCESS_KEY_ID"} {
		given = given || os.Getenv(v) != ""
	}
	if !given {
		return nil, &fault.Fault{
			Code: "SLU-IDENTITY-030", Hop: fault.HopIdentity, Seen: "the pod has no AWS identity",
			Why: "neither AWS_WEB_IDENTITY_TOKEN_FILE nor AWS_CONTAINER_CREDENTIALS_FULL_URI nor AWS_ACCESS_KEY_ID is set in its environment",
			Fix: "kubectl annotate serviceaccount -n flux-system kustomize-controller eks.amazonaws.com/role-arn=<role ARN>",
		}
	}
	return &Credentials{load: func(ctx context.Context, region, _ string, _ Options) (aws.Config, error) {
		return config.LoadDefaultConfig(ctx, config.WithRegion(region),
			config.WithSharedConfigFiles([]string{}), config.WithSharedCredentialsFiles([]string{}),
			config.WithEC2IMDSClientEnableState(imds.ClientDisabled))
	}}, nil
}

// Default returns a person's credentials, found as the SDK finds them: environment, profiles, single sign-on. A document
// may name a profile, and profile, when it is not empty, overrules it.
func Default(profile string) *Credentials {
	return &Credentials{load: func(ctx context.Context, region, wanted string, _ Options) (aws.Config, error) {
		if profile != "" {
			wanted = profile
		}
		options := []func(*config.LoadOptions) error{config.WithRegion(region)}
		if wanted != "" {
			options = append(options, config.WithSharedConfigProfile(wanted))
		}
		return config.LoadDefaultConfig(ctx, options...)
	}}
}

// signInFailed is the fault of credentials that could not be looked for.
func signInFailed(ctx context.Context, k Key, err error) error {
	if ctx.Err() != nil {
		return about(k, "", "").Unreachable(ctx, err)
	}
	if f := fault.From(err); f != nil {
		return f
	}
	return noCredentials(k)
}

func noCredentials(k Key) *fault.Fault {
	return &fault.Fault{
		Code: "SLU-IDENTITY-031", Hop: fault.HopIdentity, Object: "AWS KMS key " + k.ARN,
		Seen: "there are no AWS credentials to ask with", Why: "none of the places that may hold them gave any",
		Fix: "aws sts get-caller-identity",
	}
}

// signInRefused is the fault of a role that could not be assumed.
func signInRefused(k Key, status int, code string, kind kms.Kind) error {
	f := about(k, "", "").Refusal(status, code, kind)
	f.Hop, f.Code = fault.HopIdentity, "SLU-IDENTITY-032"
	f.Seen = "AWS STS answered " + f.Err.Error()
	f.Why = "the role's trust policy does not admit who asked: subject, audience sts.amazonaws.com, or the identity provider's issuer"
	f.Fix = "aws iam get-role --role-name <role> --query Role.AssumeRolePolicyDocument"
	return f
}
