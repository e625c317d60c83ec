package githost

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// Options say how to reach a host.
type Options struct {
	Hostname string // empty: the public service's
	Token    string
	CAFile   []byte // PEM, trusted besides the system's roots
}

func (o Options) hostname(public string) string {
	if o.Hostname == "" {
		return public
	}
	return o.Hostname
}

// client is built from nothing: http.DefaultTransport is a refuser in this process. It follows no redirect, which would
// take the token along.
func (o Options) client() (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(o.CAFile) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil || pool == nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(o.CAFile) {
			return nil, &fault.Fault{Code: "SLU-USAGE-060", Hop: fault.HopUsage, Seen: "the CA file holds no PEM certificate", Fix: "name a PEM file: --ca-file FILE"}
		}
		config.RootCAs = pool
	}
	return &http.Client{
		Timeout:       time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 30 * time.Second}).DialContext,
			TLSClientConfig: config, TLSHandshakeTimeout: 15 * time.Second, ForceAttemptHTTP2: true, IdleConnTimeout: 10 * time.Second},
	}, nil
}

// rest is a host's API of JSON documents.
type rest struct {
	host   string
	base   string // without a slash at the end
	client *http.Client
	sign   func(*http.Request)
}

// call sends in (nil: no body) and reads the answer into out (nil: left unread). missing is true, without an error, for
// HTTP 404.
func (r rest) call(ctx context.Context, method, path string, in, out any, doing string) (missing bool, err error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return false, err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.base+path, body)
	if err != nil {
		return false, explainStatus(r.host, 0, doing, err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "sluice")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	r.sign(req)
	res, err := r.client.Do(req)
	if err != nil {
		return false, explainStatus(r.host, 0, doing, err)
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode == http.StatusNotFound:
		return true, nil
	case res.StatusCode == http.StatusNonAuthoritativeInfo, res.StatusCode == http.StatusFound: // Azure DevOps shows its sign-in page
		return false, explainStatus(r.host, http.StatusUnauthorized, doing, nil)
	case res.StatusCode < 200 || res.StatusCode > 299:
		return false, explainStatus(r.host, res.StatusCode, doing, nil)
	case out == nil:
		return false, nil
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 16<<20)).Decode(out); err != nil {
		f := explainStatus(r.host, res.StatusCode, doing, err).(*fault.Fault)
		f.Seen, f.Fix = "an answer that is not JSON while "+doing, "check --hostname: it must be the host's own name, without a path"
		return false, f
	}
	return false, nil
}

// must is call for what has to be there.
func (r rest) must(ctx context.Context, method, path string, in, out any, doing string) error {
	missing, err := r.call(ctx, method, path, in, out, doing)
	if err == nil && missing {
		return explainStatus(r.host, http.StatusNotFound, doing, nil)
	}
	return err
}
