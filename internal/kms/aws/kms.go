// Package aws is the client side of AWS KMS: it decrypts and encrypts SOPS data keys, as one identity, through the AWS
// SDK. The same identities sign in to EKS clusters (Cluster) and to Git repositories of CodeCommit (GitPassword).
//
// It stands behind the keyring. A Client keeps one connection per region and role. It refuses to look for credentials:
// it has those that it was given, whatever lies around in environment, files or the machine's metadata; only Default,
// for a person's machine, looks where the SDK does. The host that is asked comes from the region of the key's ARN, which
// is checked, never from elsewhere in a document. Every error is a *fault.Fault of hop "identity", "vault" or "key", or
// the context's; none holds the service's words.
package aws

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/kms"
	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

// Key names a KMS key as a SOPS document does.
type Key struct {
	ARN     string
	Role    string            // assumed before the key is used; empty: none
	Context map[string]string // encryption context
	Profile string            // of a person's configuration; only Default looks at it
}

var (
	keyARN  = lazyregexp.New(`^arn:aws[\w-]*:kms:([a-z0-9-]{1,40}):[0-9]+:(key|alias)/[\w/-]{1,300}$`)
	roleARN = lazyregexp.New(`^arn:aws[\w-]*:iam::[0-9]{1,30}:role/[\w+=,.@/-]{1,200}$`)
)

// Options configure a Client. The zero value serves AWS itself.
type Options struct {
	HTTP     aws.HTTPClient // nil: the SDK's own, with the environment's proxy and AWS_CA_BUNDLE
	Endpoint string         // of KMS and STS instead of AWS's; empty: by region
}

// Client speaks to KMS as one identity. It is safe for concurrent use.
type Client struct {
	creds *Credentials
	opts  Options

	mu      sync.Mutex
	clients map[string]*awskms.Client // by region, role and profile
}

// New returns a client for the keys that the credentials may use. It sends nothing.
func New(creds *Credentials, o Options) *Client {
	return &Client{creds: creds, opts: o, clients: map[string]*awskms.Client{}}
}

// Decrypt opens a data key; enc is the raw ciphertext. It needs kms:Decrypt.
func (c *Client) Decrypt(ctx context.Context, k Key, enc []byte) ([]byte, error) {
	client, err := c.client(ctx, k)
	if err != nil {
		return nil, err
	}
	out, err := client.Decrypt(ctx, &awskms.DecryptInput{KeyId: &k.ARN, CiphertextBlob: enc, EncryptionContext: k.Context})
	if err != nil {
		return nil, explain(ctx, err, k, "kms:Decrypt")
	}
	return out.Plaintext, nil
}

// Encrypt wraps a data key and returns the raw ciphertext. It needs kms:Encrypt.
func (c *Client) Encrypt(ctx context.Context, k Key, dataKey []byte) ([]byte, error) {
	client, err := c.client(ctx, k)
	if err != nil {
		return nil, err
	}
	out, err := client.Encrypt(ctx, &awskms.EncryptInput{KeyId: &k.ARN, Plaintext: dataKey, EncryptionContext: k.Context})
	if err != nil {
		return nil, explain(ctx, err, k, "kms:Encrypt")
	}
	return out.CiphertextBlob, nil
}

func (c *Client) client(ctx context.Context, k Key) (*awskms.Client, error) {
	m := keyARN.FindStringSubmatch(k.ARN)
	if m == nil {
		return nil, about(k, "", "").Malformed("the document's arn is not that of a KMS key", "its region says which host is asked",
			"correct arn: arn:aws:kms:<region>:<account>:key/<id>")
	}
	if k.Role != "" && !roleARN.MatchString(k.Role) {
		return nil, about(k, "", "").Malformed("the document's role is not the ARN of an IAM role", "it cannot be assumed",
			"correct role: arn:aws:iam::<account>:role/<name>")
	}
	region, id := m[1], m[1]+" "+k.Role+" "+k.Profile
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.clients[id]; known != nil {
		return known, nil
	}
	base, err := c.creds.base(ctx, region, k.Profile, c.opts)
	if err != nil {
		return nil, signInFailed(ctx, k, err)
	}
	cfg := c.opts.config(base, region)
	if k.Role != "" {
		role := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), k.Role, func(a *stscreds.AssumeRoleOptions) { a.RoleSessionName = "sops" })
		cfg.Credentials = aws.NewCredentialsCache(role)
	}
	client := awskms.NewFromConfig(cfg)
	c.clients[id] = client
	return client, nil
}

// config completes a configuration. It has no sources but those that base came with, so that nothing else is read.
func (o Options) config(base aws.Config, region string) aws.Config {
	base.Region, base.Retryer = region, retryer
	if o.HTTP != nil {
		base.HTTPClient = o.HTTP
	}
	if o.Endpoint != "" {
		base.BaseEndpoint = &o.Endpoint
	}
	return base
}

// retryer tries four times in all. Which errors are worth it is the SDK's knowledge: KMS throttles with status 400.
func retryer() aws.Retryer {
	exponential := retry.NewExponentialJitterBackoff(5 * time.Second)
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = 4
		o.Backoff = retry.BackoffDelayerFunc(func(attempt int, err error) (time.Duration, error) {
			var res *smithyhttp.ResponseError
			if errors.As(err, &res) && res.Response != nil {
				if told, ok := kms.After(res.Response.Header, time.Now()); ok && told <= 20*time.Second {
					return told, nil
				}
			}
			return exponential.BackoffDelay(attempt, err)
		})
	})
}

// kinds are the error codes of KMS and STS that are shown.
var kinds = map[string]kms.Kind{
	"AccessDeniedException": kms.Forbidden, "AccessDenied": kms.Forbidden,
	"UnrecognizedClientException": kms.Unauthenticated, "InvalidClientTokenId": kms.Unauthenticated, "ExpiredTokenException": kms.Unauthenticated,
	"ExpiredToken": kms.Unauthenticated, "InvalidSignatureException": kms.Unauthenticated, "SignatureDoesNotMatch": kms.Unauthenticated,
	"MissingAuthenticationTokenException": kms.Unauthenticated, "IncompleteSignature": kms.Unauthenticated,
	"InvalidIdentityToken": kms.Unauthenticated, "IDPRejectedClaim": kms.Unauthenticated, "IDPCommunicationError": kms.Other,
	"NotFoundException": kms.NotFound, "DisabledException": kms.Unusable, "KMSInvalidStateException": kms.Unusable,
	"InvalidKeyUsageException": kms.Unusable, "KeyUnavailableException": kms.Unusable,
	"InvalidCiphertextException": kms.BadCiphertext, "IncorrectKeyException": kms.BadCiphertext,
	"ThrottlingException": kms.Throttled, "Throttling": kms.Throttled, "LimitExceededException": kms.Throttled, "TooManyRequestsException": kms.Throttled,
	"KMSInternalException": kms.Other, "DependencyTimeoutException": kms.Other, "ValidationException": kms.Other, "ServiceUnavailable": kms.Other,
}

// explain turns an error of the SDK into a fault. The SDK's text holds the service's.
func explain(ctx context.Context, err error, k Key, action string) error {
	a := about(k, action, "")
	if ctx.Err() != nil {
		return a.Unreachable(ctx, err)
	}
	if f := fault.From(err); f != nil {
		return f
	}
	var res *smithyhttp.ResponseError
	var api smithy.APIError
	if !errors.As(err, &api) || !errors.As(err, &res) {
		var dial *net.OpError
		if !errors.As(err, &dial) && strings.Contains(err.Error(), "get credentials") {
			return noCredentials(k)
		}
		return a.Unreachable(ctx, err)
	}
	code, status := api.ErrorCode(), res.HTTPStatusCode()
	kind, known := kinds[code]
	if !known {
		code, kind = "", kms.KindOf(status)
	}
	if fromSTS(err) {
		return signInRefused(k, status, code, kind)
	}
	return a.Refusal(status, code, kind)
}

// fromSTS reports whether what failed inside was the sign-in.
func fromSTS(err error) bool {
	for err != nil {
		var op *smithy.OperationError
		if !errors.As(err, &op) {
			return false
		}
		if op.Service() == "STS" {
			return true
		}
		err = op.Unwrap()
	}
	return false
}

func about(k Key, action, host string) kms.Key {
	region := "<region>"
	if m := keyARN.FindStringSubmatch(k.ARN); m != nil {
		region = m[1]
	}
	if host == "" {
		host = "kms." + region + ".amazonaws.com"
	}
	return kms.Key{
		Service: "AWS KMS", Name: k.ARN, Host: host, SignIn: "aws sts get-caller-identity",
		Grant: "aws kms create-grant --region " + region + " --key-id " + k.ARN + " --operations " + strings.TrimPrefix(action, "kms:") + " --grantee-principal <role ARN>",
		Show:  "aws kms describe-key --region " + region + " --key-id " + k.ARN,
	}
}
