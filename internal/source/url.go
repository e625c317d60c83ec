package source

import (
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

// endpoint is a checked remote address without credentials.
type endpoint struct {
	scheme string // http, https, ssh
	host   string // name or address, without brackets
	port   string // empty: the scheme's own
	path   string // unescaped, begins with "/"
	user   string // from the URL
	pass   string // from the URL
}

var (
	scpLike  = lazyregexp.New(`^(?:([A-Za-z0-9._-]+)@)?([A-Za-z0-9][A-Za-z0-9.-]*):([^/:].*|/[^/].*)$`)
	hostName = lazyregexp.New(`^[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_.])?$`)
)

// parseURL accepts http, https and ssh URLs and refuses the rest before anything is dialled. Git knows remotes that run
// a program (ext::), read the local disk (file://, plain paths) or smuggle an option (a host or path that begins with
// "-"); none of them can be named here. The refusals never repeat the URL: it may hold a password.
func parseURL(raw string) (*endpoint, error) {
	if raw == "" {
		return nil, refuseURL("the URL is empty", "set spec.url to an http://, https:// or ssh:// address")
	}
	if strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' }) {
		return nil, refuseURL("the URL has spaces, control characters or backslashes", "percent-encode them in spec.url")
	}
	if !strings.Contains(raw, "://") {
		if m := scpLike.FindStringSubmatch(raw); m != nil && !strings.ContainsAny(m[3], ":@") {
			user := m[1]
			if user == "" {
				user = "git"
			}
			return nil, refuseURL("the URL is in scp's short form, which names no protocol",
				fmt.Sprintf("set spec.url: ssh://%s@%s/%s", user, m[2], strings.TrimPrefix(m[3], "/")))
		}
		return nil, refuseURL("the URL names no protocol", "set spec.url to an http://, https:// or ssh:// address")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, refuseURL("the URL cannot be parsed", "set spec.url to an http://, https:// or ssh:// address")
	}
	ep := &endpoint{scheme: u.Scheme, host: u.Hostname(), port: u.Port(), path: u.Path}
	switch ep.scheme {
	case "http", "https", "ssh":
	default:
		return nil, refuseURL(fmt.Sprintf("the URL's protocol is %q", ep.scheme), "use an http://, https:// or ssh:// address")
	}
	if !validHost(ep.host) {
		return nil, refuseURL("the URL's host is empty or not a host name", "correct the host in spec.url")
	}
	if u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, refuseURL("the URL has a query or a fragment", "take everything from ? or # on out of spec.url, and set spec.ref for the branch")
	}
	if strings.Trim(ep.path, "/") == "" {
		return nil, refuseURL("the URL names no repository", "add the repository's path to spec.url")
	}
	if strings.ContainsFunc(ep.path, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return nil, refuseURL("the URL's path has control characters", "correct the path in spec.url")
	}
	if u.User != nil {
		ep.user = u.User.Username()
		ep.pass, _ = u.User.Password()
	}
	if strings.HasPrefix(ep.user, "-") {
		return nil, refuseURL("the URL's user begins with a dash", "correct the user in spec.url")
	}
	return ep, nil
}

func validHost(host string) bool {
	if net.ParseIP(strings.SplitN(host, "%", 2)[0]) != nil {
		return true
	}
	return hostName.MatchString(host)
}

func refuseURL(seen, fix string) error {
	return &fault.Fault{Code: "SLU-GIT-001", Hop: fault.HopGit, Reason: reasonURLInvalid, Seen: seen, Fix: fix,
		Why: "only http, https and ssh remotes are read"}
}

// address is the host and port to dial.
func (ep *endpoint) address() string {
	port := ep.port
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "ssh": "22"}[ep.scheme]
	}
	return net.JoinHostPort(ep.host, port)
}

// url gives the address without user information.
func (ep *endpoint) url() *url.URL {
	host := ep.host
	if ep.port != "" {
		host = net.JoinHostPort(ep.host, ep.port)
	} else if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return &url.URL{Scheme: ep.scheme, Host: host, Path: ep.path}
}

// String names the remote in messages.
func (ep *endpoint) String() string { return ep.url().String() }
