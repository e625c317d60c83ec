// Package source turns a Git remote into revisions: read-only file trees that are read in place, out of a shallow
// object store on disk. It is the first stage of the way of the data; render reads what it hands out.
//
// A Mirror keeps the objects of one GitRepository and brings them up to date with the fewest requests: one listing of
// the remote's refs when nothing moved, one pack of the objects that are new when something did.
//
// It refuses to check anything out, to start a git or ssh process, to dial anything but http, https and ssh, to send
// credentials to another origin than the one that the user named, to trust a host key or a certificate that the user
// did not, and to use a name that a remote advertises as a file name.
package source

import (
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
)

// Spec says what to fetch. Of the reference fields the first that is set wins, in Flux's order: Commit, Name, SemVer,
// Tag, Branch; with none of them, branch master. Commit may be given together with Branch, which then appears in the
// revision's name and is what is fetched whole if the remote serves no single commits.
type Spec struct {
	URL    string // http://, https:// or ssh://; user information in it counts as Auth where Auth has none
	Branch string // short name
	Tag    string // short name
	SemVer string // constraint over tag names, for example ">=1.0.0 <2.0.0"
	Name   string // full reference name, for example refs/pull/420/head
	Commit string // full hash
	Auth   Auth
}

// Auth holds credentials. Its values never leave this package except to the origin of Spec.URL.
type Auth struct {
	Username, Password string // HTTP basic
	BearerToken        string // HTTP bearer
	CAFile             []byte // PEM, trusted besides the system's roots
	ClientCert         []byte // PEM
	ClientKey          []byte // PEM

	Identity           []byte // SSH private key, PEM
	IdentityPassphrase []byte
	KnownHosts         []byte   // OpenSSH known_hosts; required for ssh
	KexAlgorithms      []string // for ssh, the most preferred first; nil: Go's
	HostKeyAlgorithms  []string // for ssh, the most preferred first; nil: those of the known hosts

	Proxy *url.URL // for http and https remotes, in place of the environment's: http, https or socks5
}

// Revision is one state of the repository. It stays readable while and after the Mirror moves on.
type Revision struct {
	Name   string // Flux's format: main@sha1:<hash>, or sha1:<hash> when only a commit was asked for
	Commit Commit // zero for a revision that is no commit
	Origin string // what an artifact of another source was made from, where its maker says so
	Tree   Tree

	tagName string        // the tag that was asked for
	tag     plumbing.Hash // its object, if it is an annotated one
}

// Commit describes the commit that a Revision shows.
type Commit struct {
	Hash    string
	Author  string
	Email   string
	Subject string // first line of the message, without control characters
	When    time.Time
}

func newCommit(o plumbing.EncodedObject) (Commit, plumbing.Hash, error) {
	var c object.Commit
	if err := c.Decode(o); err != nil {
		return Commit{}, plumbing.ZeroHash, err
	}
	subject, _, _ := strings.Cut(strings.TrimLeft(c.Message, "\n"), "\n")
	return Commit{
		Hash:    c.Hash.String(),
		Author:  printable(c.Author.Name),
		Email:   printable(c.Author.Email),
		Subject: printable(subject),
		When:    c.Author.When,
	}, c.TreeHash, nil
}

// printable drops what could move a terminal's cursor: the text is a stranger's.
func printable(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s))
}
