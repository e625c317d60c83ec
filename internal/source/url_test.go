package source

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/internal/fault"
)

func TestURLsThatMayBeDialled(t *testing.T) {
	for raw, want := range map[string]string{
		"https://example.org/a/b.git":         "https://example.org/a/b.git",
		"https://example.org:8443/a/":         "https://example.org:8443/a/",
		"http://[::1]:80/a":                   "http://[::1]:80/a",
		"https://ada:pw@example.org/a":        "https://example.org/a",
		"ssh://git@example.org/a.git":         "ssh://example.org/a.git",
		"ssh://git@example.org:2222/~me/a":    "ssh://example.org:2222/~me/a",
		"HTTPS://Example.org/a":               "https://Example.org/a",
		"https://dev.azure.com/o/p%20q/_git/": "https://dev.azure.com/o/p%20q/_git/",
	} {
		ep, err := parseURL(raw)
		if err != nil || ep.String() != want {
			t.Errorf("%s: %v, %v; want %s", raw, ep, err, want)
		}
	}
}

func TestURLsRefusedBeforeAnythingIsDialled(t *testing.T) {
	for _, raw := range []string{
		"", "example.org/a", "/srv/git/a.git", "file:///srv/git/a.git", "git://example.org/a", "ftp://example.org/a", "ftps://example.org/a",
		"ext::sh -c whoami", "ext::sh", "fd::17", "--upload-pack=touch x", "-oProxyCommand=x", "http://-oProxyCommand=x/a",
		"ssh://-oProxyCommand=touch/a", "ssh://git@-x/a", "ssh://-x@example.org/a", "https://", "https:///a", "https://example.org",
		"https://example.org/", "https://example.org/a?b=c", "https://example.org/a?", "https://example.org/a#main", "https://exa mple.org/a",
		"https://example.org/a\n", "https://example.org/a%0ahost", "https://example.org/%00", "https://ex\\ample.org/a", "https://example.org:port/a", "git+ssh://example.org/a", "transport::https://example.org/a",
		"https://ada:" + canary + "@exa%zzmple.org/a", "ada:" + canary + "@example.org/a", "javascript://example.org/a", "https://%65xample.org%2f@evil/a b",
	} {
		ep, err := parseURL(raw)
		f := fault.From(err)
		if f == nil || f.Code != "SLU-GIT-001" || f.Fix == "" || f.Reason == "" {
			t.Errorf("%q: %v, %v; want a fault SLU-GIT-001 with a fix", raw, ep, err)
			continue
		}
		if strings.Contains(f.Error(), canary) {
			t.Errorf("the refusal repeats the password: %v", f)
		}
	}
}

func TestShortSSHFormIsRefusedWithTheLongOne(t *testing.T) {
	for raw, want := range map[string]string{
		"git@github.com:owner/repo.git":             "ssh://git@github.com/owner/repo.git",
		"github.com:owner/repo":                     "ssh://git@github.com/owner/repo",
		"git@ssh.dev.azure.com:v3/org/project/repo": "ssh://git@ssh.dev.azure.com/v3/org/project/repo",
		"me@example.org:/srv/a.git":                 "ssh://me@example.org/srv/a.git",
	} {
		_, err := parseURL(raw)
		if f := fault.From(err); f == nil || f.Fix != "set spec.url: "+want {
			t.Errorf("%s: %v, want the fix to be %s", raw, err, want)
		}
	}
}

// FuzzURL checks that whatever is accepted dials what it says, and survives being written and read again.
func FuzzURL(f *testing.F) {
	f.Fuzz(func(t *testing.T, raw string) {
		ep, err := parseURL(raw)
		if err != nil {
			var known *fault.Fault
			if !errors.As(err, &known) || known.Code != "SLU-GIT-001" {
				t.Fatalf("%q: %v is no refusal", raw, err)
			}
			return
		}
		if ep.scheme != "http" && ep.scheme != "https" && ep.scheme != "ssh" {
			t.Fatalf("%q: scheme %q", raw, ep.scheme)
		}
		if ep.host == "" || ep.host[0] == '-' || strings.ContainsAny(ep.host, "/@?#\\ \x00\n") || !strings.HasPrefix(ep.path, "/") || strings.ContainsAny(ep.path, "\n\r\x00") {
			t.Fatalf("%q: host %q, path %q", raw, ep.host, ep.path)
		}
		u, err := url.Parse(ep.String())
		if err != nil || u.User != nil || u.Hostname() != ep.host || u.Path != ep.path {
			t.Fatalf("%q: %s reads back as %v, %v", raw, ep, u, err)
		}
		again, err := parseURL(ep.String())
		if err != nil || again.address() != ep.address() || again.path != ep.path || again.scheme != ep.scheme {
			t.Fatalf("%q: %s does not survive: %v, %v", raw, ep, again, err)
		}
		if q := shellQuote(remotePath(ep.path)); unquote(q) != remotePath(ep.path) {
			t.Fatalf("%q: quoted as %s", raw, q)
		}
	})
}

// unquote takes a shell word of single-quoted and backslashed parts apart.
func unquote(s string) string {
	var b strings.Builder
	for in := false; s != ""; s = s[1:] {
		switch {
		case s[0] == '\'':
			in = !in
		case s[0] == '\\' && !in:
			s = s[1:]
			b.WriteByte(s[0])
		case !in:
			return "bare " + s
		default:
			b.WriteByte(s[0])
		}
	}
	return b.String()
}
