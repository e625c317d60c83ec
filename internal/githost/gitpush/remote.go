package gitpush

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	gitssh "github.com/go-git/go-git/v5/plumbing/transport/ssh"
	"github.com/go-git/go-git/v5/storage/memory"
	"golang.org/x/crypto/ssh"

	"github.com/sluice-gitops/sluice/internal/source"
)

// Remote is a repository and how to sign in to it.
type Remote struct {
	URL     string       // http://, https:// or ssh://, without credentials
	Auth    source.Auth  // the fields for the URL's protocol
	Signers []ssh.Signer // for ssh: keys of an agent, when Auth has no Identity

	HostKeyAlgorithms []string // for ssh: the kinds of host keys that are taken; empty: those of the known hosts
}

// Head is one branch of a remote as it stood when it was read.
type Head struct {
	Branch string
	Commit string // full hash; empty when the repository has no commits

	store *memory.Storage
	tree  *object.Tree // nil when Commit is empty
}

// Head reads the branch. Errors are faults with hop git, except a canceled context's.
func (r Remote) Head(ctx context.Context, branch string) (*Head, error) {
	head, err := r.read(ctx, branch)
	if err != nil {
		return nil, r.explain(ctx, err)
	}
	return head, nil
}

func (r Remote) read(ctx context.Context, branch string) (*Head, error) {
	head := &Head{Branch: branch, store: memory.NewStorage()}
	client, ep, auth, err := r.connect()
	if err != nil {
		return nil, err
	}
	s, err := client.NewUploadPackSession(ep, auth)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	refs, err := s.AdvertisedReferencesContext(ctx)
	if errors.Is(err, transport.ErrEmptyRemoteRepository) {
		return head, nil
	}
	if err != nil {
		return nil, err
	}
	at, ok := refs.References["refs/heads/"+branch]
	if !ok {
		return nil, missingBranch(branch, refs)
	}
	if err := fetch(ctx, s, ep, refs, at, head.store); err != nil {
		return nil, err
	}
	commit, err := object.GetCommit(head.store, at)
	if err != nil {
		return nil, err
	}
	head.Commit = at.String()
	head.tree, err = commit.Tree()
	return head, err
}

// fetch asks for one commit and what it shows, not for its history, and keeps the objects in store.
func fetch(ctx context.Context, s transport.UploadPackSession, ep *transport.Endpoint, refs *packp.AdvRefs, at plumbing.Hash, store *memory.Storage) error {
	req := packp.NewUploadPackRequestFromCapabilities(refs.Capabilities)
	req.Wants = []plumbing.Hash{at}
	if refs.Capabilities.Supports(capability.Shallow) {
		req.Depth = packp.DepthCommits(1)
		_ = req.Capabilities.Set(capability.Shallow)
	}
	// Azure DevOps serves only who can multi_ack, which anybody can who has nothing to negotiate about; the library takes
	// it out of what is advertised.
	if azureDevOps(ep.Host) {
		_ = req.Capabilities.Set(capability.MultiACK)
	}
	res, err := s.UploadPack(ctx, req)
	if err != nil {
		return err
	}
	defer res.Close()
	var pack io.Reader = res
	switch {
	case req.Capabilities.Supports(capability.Sideband64k):
		pack = sideband.NewDemuxer(sideband.Sideband64k, res)
	case req.Capabilities.Supports(capability.Sideband):
		pack = sideband.NewDemuxer(sideband.Sideband, res)
	}
	return packfile.UpdateObjectStorage(store, pack)
}

func azureDevOps(host string) bool {
	return host == "dev.azure.com" || strings.HasSuffix(host, ".dev.azure.com") || strings.HasSuffix(host, ".visualstudio.com")
}

// connect chooses the protocol's client. Nothing is dialled yet.
func (r Remote) connect() (transport.Transport, *transport.Endpoint, transport.AuthMethod, error) {
	ep, err := transport.NewEndpoint(r.URL)
	if err != nil {
		return nil, nil, nil, usage("the URL can't be read", "give an https://, http:// or ssh:// address")
	}
	switch ep.Protocol {
	case "ssh":
		auth, err := r.sshAuth(ep)
		return gitssh.NewClient(nil), ep, auth, err
	case "http", "https":
		client, err := r.httpClient()
		if err != nil {
			return nil, nil, nil, err
		}
		return githttp.NewClient(client), ep, r.httpAuth(), nil
	}
	return nil, nil, nil, usage("the URL's protocol is "+ep.Protocol, "give an https://, http:// or ssh:// address")
}

func (r Remote) httpAuth() transport.AuthMethod {
	switch a := r.Auth; {
	case a.BearerToken != "":
		return &githttp.TokenAuth{Token: a.BearerToken}
	case a.Username != "" || a.Password != "":
		return &githttp.BasicAuth{Username: a.Username, Password: a.Password}
	}
	return nil
}

// httpClient is built from nothing: http.DefaultTransport is a refuser in this process.
func (r Remote) httpClient() (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(r.Auth.CAFile) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil || pool == nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(r.Auth.CAFile) {
			return nil, usage("the CA file holds no PEM certificate", "name a PEM file: --ca-file FILE")
		}
		config.RootCAs = pool
	}
	origin, err := url.Parse(r.URL)
	if err != nil {
		return nil, usage("the URL can't be read", "give an https://, http:// or ssh:// address")
	}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: 30 * time.Second}).DialContext,
			TLSClientConfig:     config,
			TLSHandshakeTimeout: 15 * time.Second,
			ForceAttemptHTTP2:   true,
			IdleConnTimeout:     10 * time.Second,
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if req.URL.Host != origin.Host || req.URL.Scheme != origin.Scheme || len(via) > 5 {
				return errElsewhere // credentials are for the host that the user named
			}
			return nil
		},
	}, nil
}

var errElsewhere = errors.New("redirected to another host")

// scrub gives an error's text without anything that is a credential: a remote may echo what it was sent.
func (r Remote) scrub(text string) string {
	for _, secret := range []string{r.Auth.Password, r.Auth.BearerToken} {
		if len(secret) > 3 {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	return text
}
