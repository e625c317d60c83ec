package keyvault

import (
	"strings"

	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

var (
	keyName    = lazyregexp.New(`^[0-9a-zA-Z-]{1,127}$`)
	keyVersion = lazyregexp.New(`^[0-9a-fA-F]{32}$`)
)

// target is what a request path names: a collection, a key in it, one of its versions, and what to do with it.
type target struct {
	collection string // "keys" or "deletedkeys"
	name       string // empty: the collection itself
	version    string // empty: the current one
	action     string // lower case: "create", "decrypt", "versions"...; empty: the object itself
}

// actions are the last path segments that name no version.
var actions = map[string]bool{
	"create": true, "rotate": true, "versions": true, "recover": true,
	"encrypt": true, "decrypt": true, "wrapkey": true, "unwrapkey": true,
}

// parsePath reads a decoded URL path. Azure folds case, and clients write a missing version as an empty segment or leave
// it out: /keys/{name}/, /keys/{name}//decrypt and /keys/{name}/decrypt all mean the current version.
func parsePath(path string) (target, bool) {
	var segments []string
	for segment := range strings.SplitSeq(path, "/") {
		if segment != "" {
			segments = append(segments, segment)
		}
	}
	if len(segments) == 0 || len(segments) > 4 {
		return target{}, false
	}
	t := target{collection: strings.ToLower(segments[0])}
	if t.collection != "keys" && t.collection != "deletedkeys" {
		return target{}, false
	}
	if segments = segments[1:]; len(segments) == 0 {
		return t, true
	}
	if t.name = segments[0]; !keyName.MatchString(t.name) {
		return target{}, false
	}
	segments = segments[1:]
	if len(segments) > 0 && actions[strings.ToLower(segments[len(segments)-1])] {
		t.action = strings.ToLower(segments[len(segments)-1])
		segments = segments[:len(segments)-1]
	}
	switch {
	case len(segments) == 0:
		return t, true
	case len(segments) == 1 && t.collection == "keys" && keyVersion.MatchString(segments[0]):
		t.version = segments[0]
		return t, true
	default:
		return target{}, false
	}
}

// String is the path that names the same.
func (t target) String() string {
	path := "/" + t.collection
	for _, segment := range []string{t.name, t.version, t.action} {
		if segment != "" {
			path += "/" + segment
		}
	}
	return path
}
