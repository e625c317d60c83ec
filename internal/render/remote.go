package render

import (
	"net/url"
	"strings"

	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

// kustomize has two ways out of the file system. Any file it loads may be a URL, which it GETs with http.DefaultTransport;
// any base may be a git reference, for which it runs git. Neither passes through the file system that we give it, and
// neither has a switch, so references are judged before the build. The two predicates below say yes at least whenever
// kustomize would go out: the first repeats its test, the second is wider where that costs nothing real.

// fetches says whether kustomize would load ref over HTTP.
func fetches(ref string) bool {
	u, err := url.Parse(ref)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https")
}

var schemes = []string{"http://", "https://", "ssh://", "file://", "git://", "git::"}

var userAtHost = lazyregexp.New(`^[a-zA-Z][a-zA-Z0-9-]*@`)

// clones says whether kustomize would take ref, given as a base, for a git repository: by scheme, as github.com/org/repo,
// or in scp form, user@host:path. A file of such a name in the tree is no excuse: if its content is malformed, kustomize
// tries the name as a base.
func clones(ref string) bool {
	if hasScheme(ref) {
		return true
	}
	ref, _, _ = strings.Cut(ref, "?")
	user := userAtHost.FindString(ref)
	rest := ref[len(user):]
	lower := strings.ToLower(rest)
	github := strings.HasPrefix(lower, "github.com/") || strings.HasPrefix(lower, "github.com:")
	if user == "" && !github {
		return false
	}
	i := strings.IndexAny(rest, "/:")
	if i < 0 {
		return false
	}
	repo := rest[i+1:]
	// Fewer than two path segments name no repository, unless something marks where its name ends.
	return strings.Contains(repo, "/") || strings.Contains(repo, ".git")
}

func hasScheme(ref string) bool {
	lower := strings.ToLower(ref)
	for _, s := range schemes {
		if strings.HasPrefix(lower, s) {
			return true
		}
	}
	return false
}

// remoteFile says whether ref, in a field that names a file, is not a file of the tree.
func remoteFile(ref string) bool { return fetches(ref) || hasScheme(ref) }

// remoteBase says the same for a field that may name a base.
func remoteBase(ref string) bool { return fetches(ref) || clones(ref) }
