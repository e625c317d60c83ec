package doctor

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	sdk "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"

	"github.com/sluice-gitops/sluice/internal/azure/cloud"
)

func (w *world) management() string { return cloud.Public.Management() }

// sovereign finds the cloud of a host, if it is another than the emulated one.
func sovereign(host string) (cloud.Cloud, bool) {
	for _, c := range cloud.All()[1:] {
		if slices.ContainsFunc(names(c), func(p [2]string) bool { return strings.HasSuffix("."+host, "."+p[0]) }) {
			return c, true
		}
	}
	return cloud.Cloud{}, false
}

// names pairs a cloud's names with the public cloud's, the longest first.
func names(c cloud.Cloud) [][2]string {
	host := func(c cloud.Cloud) string { return strings.Trim(strings.TrimPrefix(c.Authority, "https://"), "/") }
	suffix := func(c cloud.Cloud) string {
		return strings.TrimSuffix(strings.TrimPrefix(c.VaultScope(), "https://"), "/.default")
	}
	audience := func(c cloud.Cloud) string {
		return strings.Trim(strings.TrimPrefix(c.SDK().Services[sdk.ResourceManager].Audience, "https://"), "/")
	}
	endpoint := func(c cloud.Cloud) string { return strings.TrimPrefix(c.Management(), "https://") }
	return [][2]string{
		{audience(c), audience(cloud.Public)}, {endpoint(c), endpoint(cloud.Public)}, {host(c), host(cloud.Public)}, {suffix(c), suffix(cloud.Public)},
	}
}

// translated plays a sovereign cloud: it has the emulated public one answer under the other's names. What is signed, and
// the rules by which it is judged, stay the emulator's.
func (w *world) translated(c cloud.Cloud, r *http.Request, next func(*http.Request) (*http.Response, error)) (*http.Response, error) {
	there, back := []string{}, []string{}
	for _, p := range names(c) {
		there = append(there, p[0], p[1], url.QueryEscape(p[0]), url.QueryEscape(p[1]))
		back = append(back, p[1], p[0])
	}
	to, from := strings.NewReplacer(there...), strings.NewReplacer(back...)
	own := r.Clone(r.Context())
	address, err := url.Parse(to.Replace(r.URL.String()))
	if err != nil {
		return nil, err
	}
	own.URL, own.Host = address, address.Host
	if r.Body != nil {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		text := to.Replace(string(raw))
		own.Body, own.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	}
	res, err := next(own)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		return nil, err
	}
	raw = []byte(from.Replace(string(raw)))
	res.Body, res.ContentLength, res.Request = io.NopCloser(bytes.NewReader(raw)), int64(len(raw)), r
	res.Header.Del("Content-Length")
	for _, values := range res.Header {
		for i := range values {
			values[i] = from.Replace(values[i])
		}
	}
	return res, nil
}

// sealedIn is the sealed file as it would stand in a repository of that cloud: the vault's address is no part of the MAC.
func (w *world) sealedIn(c cloud.Cloud) string {
	if w.key.Vault == "" {
		return w.sealed
	}
	return strings.ReplaceAll(w.sealed, ".vault.azure.net", strings.TrimSuffix(strings.Replace(c.VaultScope(), "https://", ".", 1), "/.default"))
}
