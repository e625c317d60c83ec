package source

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
)

const (
	refsPath    = "/info/refs"
	uploadPack  = "git-upload-pack"
	maxRedirect = 5
	maxErrBody  = 64 << 10
)

// errStatus is a reply that is neither what was asked for nor a redirect that may be followed.
type errStatus struct{ code int }

func (e *errStatus) Error() string { return fmt.Sprintf("HTTP status %d", e.code) }

// errNotGit is a reply in another tongue than smart HTTP's.
type errNotGit struct{ contentType string }

func (e *errNotGit) Error() string { return "content type " + e.contentType }

// errRedirect is a redirect that was not followed.
type errRedirect struct{ why string }

func (e *errRedirect) Error() string { return e.why }

// httpSession speaks smart HTTP. Credentials are bound to the origin of the user's URL: they are added per request,
// never to a request that a redirect has led elsewhere, and the client certificate is shown to that origin alone.
type httpSession struct {
	origin *url.URL // as the user named it
	base   *url.URL // where the repository is, after redirects
	auth   func(*http.Request)
	client *http.Client
}

func newHTTPSession(ep *endpoint, auth Auth) (*httpSession, error) {
	s := &httpSession{origin: ep.url()}
	s.origin.Path = strings.TrimRight(s.origin.Path, "/")
	s.base = s.origin
	user, pass := auth.Username, auth.Password
	if user == "" && pass == "" {
		user, pass = ep.user, ep.pass
	}
	switch {
	case auth.BearerToken != "":
		s.auth = func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+auth.BearerToken) }
	case user != "" || pass != "":
		s.auth = func(r *http.Request) { r.SetBasicAuth(user, pass) }
	default:
		s.auth = func(*http.Request) {}
	}
	config, err := tlsConfig(auth)
	if err != nil {
		return nil, err
	}
	stranger := config.Clone()
	stranger.Certificates = nil
	s.client = &http.Client{
		Transport:     &originTransport{origin: s.origin, own: transport(config, auth.Proxy), other: transport(stranger, auth.Proxy)},
		CheckRedirect: s.checkRedirect,
	}
	return s, nil
}

func tlsConfig(auth Auth) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(auth.CAFile) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil || pool == nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(auth.CAFile) {
			return nil, authFault("the CA bundle holds no PEM certificate", "put a PEM certificate under ca.crt in the Secret that spec.secretRef names", nil)
		}
		config.RootCAs = pool
	}
	if len(auth.ClientCert) > 0 || len(auth.ClientKey) > 0 {
		pair, err := tls.X509KeyPair(auth.ClientCert, auth.ClientKey)
		if err != nil {
			// The error is left out: nothing that parses a private key is trusted not to quote it.
			return nil, authFault("the client certificate and key are not a pair", "put a matching PEM pair under tls.crt and tls.key in the Secret that spec.secretRef names", nil)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// transport is built from nothing: http.DefaultTransport is a refuser in this process.
func transport(config *tls.Config, proxy *url.URL) *http.Transport {
	through := http.ProxyFromEnvironment
	if proxy != nil {
		through = http.ProxyURL(proxy)
	}
	return &http.Transport{
		Proxy:                 through,
		DialContext:           (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       config,
		TLSHandshakeTimeout:   15 * time.Second,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   1,
		IdleConnTimeout:       10 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
}

type originTransport struct {
	origin     *url.URL
	own, other *http.Transport
}

func (t *originTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if sameOrigin(t.origin, r.URL) {
		return t.own.RoundTrip(r)
	}
	return t.other.RoundTrip(r)
}

func sameOrigin(a, b *url.URL) bool {
	port := func(u *url.URL) string {
		if p := u.Port(); p != "" {
			return p
		}
		return map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

// checkRedirect lets the listing of refs move, and nothing else: a pack request that is redirected would have to send
// its body again to a host nobody named. net/http copies the first request's headers onto each hop before it asks
// here; what remains after a hop that left the origin is what every stranger may see.
func (s *httpSession) checkRedirect(r *http.Request, via []*http.Request) error {
	last := via[len(via)-1]
	switch {
	case r.Method != http.MethodGet || !strings.HasSuffix(last.URL.Path, refsPath):
		return &errRedirect{"the pack request was redirected"}
	case len(via) > maxRedirect:
		return &errRedirect{"too many redirects"}
	case r.URL.Scheme != "http" && r.URL.Scheme != "https":
		return &errRedirect{fmt.Sprintf("redirected to protocol %q", r.URL.Scheme)}
	case last.URL.Scheme == "https" && r.URL.Scheme == "http":
		return &errRedirect{"redirected from https to http"}
	case !strings.HasSuffix(r.URL.Path, refsPath):
		return &errRedirect{"redirected to a page that is no repository, a sign-in page perhaps"}
	}
	r.URL.User = nil
	r.Header.Del("Referer")
	for _, hop := range append(via[1:len(via):len(via)], r) {
		if !sameOrigin(s.origin, hop.URL) {
			r.Header.Del("Authorization")
			r.Header.Del("Cookie")
		}
	}
	return nil
}

func (s *httpSession) refs(ctx context.Context) (*packp.AdvRefs, error) {
	u := *s.base
	u.Path += refsPath
	u.RawQuery = "service=" + uploadPack
	res, err := s.do(ctx, http.MethodGet, &u, nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	base := *res.Request.URL
	base.Path, base.RawPath, base.RawQuery = strings.TrimSuffix(base.Path, refsPath), "", ""
	s.base = &base
	if err := checkReply(res, "application/x-git-upload-pack-advertisement"); err != nil {
		return nil, err
	}
	return readRefs(res.Body)
}

// readRefs decodes an advertisement. A repository without commits gives one without references.
func readRefs(r io.Reader) (*packp.AdvRefs, error) {
	refs := packp.NewAdvRefs()
	err := refs.Decode(r)
	var line *pktline.ErrorLine
	switch {
	case errors.Is(err, packp.ErrEmptyAdvRefs):
		return packp.NewAdvRefs(), nil
	case errors.As(err, &line):
		return nil, &errServer{text: quoted(line.Text)}
	case err != nil:
		return nil, err
	}
	return refs, nil
}

func (s *httpSession) pack(ctx context.Context, req *packp.UploadPackRequest) (io.ReadCloser, error) {
	var body bytes.Buffer
	if err := encode(&body, req); err != nil {
		return nil, err
	}
	u := *s.base
	u.Path += "/" + uploadPack
	res, err := s.do(ctx, http.MethodPost, &u, &body)
	if err != nil {
		return nil, err
	}
	if err := checkReply(res, "application/x-git-upload-pack-result"); err != nil {
		res.Body.Close()
		return nil, err
	}
	return res.Body, nil
}

// encode writes the request and everything held in one go, ended by done: one round trip, no negotiation.
func encode(w io.Writer, req *packp.UploadPackRequest) error {
	if err := req.UploadRequest.Encode(w); err != nil {
		return err
	}
	if err := req.UploadHaves.Encode(w, false); err != nil {
		return err
	}
	return pktline.NewEncoder(w).EncodeString("done\n")
}

func (s *httpSession) do(ctx context.Context, method string, u *url.URL, body *bytes.Buffer) (*http.Response, error) {
	var reader io.Reader
	if body != nil {
		reader = body
	}
	r, err := http.NewRequestWithContext(ctx, method, u.String(), reader)
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", userAgent)
	r.Header.Set("Accept", "*/*")
	if body != nil {
		r.Header.Set("Content-Type", "application/x-git-upload-pack-request")
		r.Header.Set("Accept", "application/x-git-upload-pack-result")
	}
	if sameOrigin(s.origin, u) {
		s.auth(r)
	}
	return s.client.Do(r)
}

func checkReply(res *http.Response, contentType string) error {
	if res.StatusCode != http.StatusOK {
		_, _ = io.CopyN(io.Discard, res.Body, maxErrBody) // lets the connection be used again
		return &errStatus{res.StatusCode}
	}
	if got, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";"); strings.TrimSpace(got) != contentType {
		return &errNotGit{quoted(got)}
	}
	return nil
}

func (s *httpSession) close() {
	t := s.client.Transport.(*originTransport)
	t.own.CloseIdleConnections()
	t.other.CloseIdleConnections()
}
