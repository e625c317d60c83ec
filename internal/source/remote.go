package source

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
)

// remote is a checked Spec: its address is allowed and its credentials are well formed. Nothing has been dialled.
type remote struct {
	ep   *endpoint
	auth Auth
	last session // the newest conversation
}

func newRemote(spec Spec) (*remote, error) {
	ep, err := parseURL(spec.URL)
	if err != nil {
		return nil, err
	}
	r := &remote{ep: ep, auth: spec.Auth}
	if _, err := r.session(); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *remote) session() (session, error) {
	var err error
	if r.ep.scheme == "ssh" {
		r.last, err = newSSHSession(r.ep, r.auth)
	} else {
		r.last, err = newHTTPSession(r.ep, r.auth)
	}
	return r.last, err
}

// open starts a conversation by listing the refs.
func (r *remote) open(ctx context.Context) (session, *packp.AdvRefs, error) {
	s, err := r.session()
	if err != nil {
		return nil, nil, err
	}
	refs, err := s.refs(ctx)
	if err != nil {
		s.close()
		return nil, nil, explain(ctx, r, err)
	}
	return s, refs, nil
}

// movedTo is where a redirect led, if that was another origin.
func (r *remote) movedTo() string {
	if s, ok := r.last.(*httpSession); ok && !sameOrigin(s.origin, s.base) {
		return s.base.String()
	}
	return ""
}

func (r *remote) hasCredentials() bool {
	return r.auth.Username != "" || r.auth.Password != "" || r.auth.BearerToken != "" || r.ep.user != "" || r.ep.pass != ""
}

// scrub gives an error's text without anything that is or looks like a credential: a remote may echo what it was sent.
func (r *remote) scrub(err error) string {
	text := quoted(err.Error())
	secrets := []string{r.auth.Password, r.auth.BearerToken, r.ep.pass, r.auth.Username, r.ep.user}
	if r.auth.Proxy != nil && r.auth.Proxy.User != nil {
		pass, _ := r.auth.Proxy.User.Password()
		secrets = append(secrets, pass)
	}
	for _, secret := range secrets {
		if len(secret) > 3 {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	return text
}

// identity tells whether two Specs reach the same repository in the same way.
func identity(spec Spec) [32]byte {
	data, _ := json.Marshal(struct {
		URL  string
		Auth Auth
	}{spec.URL, spec.Auth})
	return sha256.Sum256(data)
}

func servesCommits(caps *capability.List) bool {
	return caps.Supports(capability.AllowReachableSHA1InWant) || caps.Supports(capability.AllowTipSHA1InWant)
}
