package aws

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

var codeCommit = lazyregexp.New(`^git-codecommit(-fips)?\.([a-z0-9-]{1,40})\.(amazonaws\.com(\.cn)?)$`)

var errNotCodeCommit = errors.New("it is no address of AWS CodeCommit: https://git-codecommit.<region>.amazonaws.com/v1/repos/<name>")

// IsCodeCommit says whether u is an https address of AWS CodeCommit. A password of GitPassword goes nowhere else.
func IsCodeCommit(u *url.URL) bool {
	return u.Scheme == "https" && u.Port() == "" && codeCommit.MatchString(strings.ToLower(u.Host))
}

// GitPassword returns the user name and the password with which Git fetches a repository of CodeCommit over https. The
// password is a Signature Version 4 of the repository's address for the method GIT, as AWS's git-remote-codecommit makes
// it; AWS takes it for 15 minutes. u must be one that IsCodeCommit. Its errors are faults of hop "identity", or the
// context's.
func (c *Credentials) GitPassword(ctx context.Context, u *url.URL, o Options) (user, password string, err error) {
	host := strings.ToLower(u.Host)
	m := codeCommit.FindStringSubmatch(host)
	if m == nil {
		return "", "", errNotCodeCommit
	}
	region := m[2]
	session := &Cluster{region: region, suffix: m[3], creds: c, opts: o} // the same sign-in, whatever it is for
	_, keys, err := session.signIn(ctx)
	if err != nil {
		if f := fault.From(err); f != nil && strings.HasPrefix(f.Object, session.about().Object()) {
			told := *f
			told.Object = "AWS CodeCommit repository " + u.Path
			return "", "", &told
		}
		return "", "", err
	}
	at := time.Now().UTC().Format("20060102T150405")
	user = keys.AccessKeyID
	if keys.SessionToken != "" {
		user += "%" + keys.SessionToken
	}
	return user, at + "Z" + gitSignature(keys.SecretAccessKey, region, host, u.EscapedPath(), at), nil
}

// gitSignature signs an address. at has no Z, unlike everywhere else in Signature Version 4.
func gitSignature(secret, region, host, path, at string) string {
	canonical := sha256.Sum256([]byte("GIT\n" + path + "\n\nhost:" + host + "\n\nhost\n"))
	scope := []string{at[:8], region, "codecommit", "aws4_request"}
	key := []byte("AWS4" + secret)
	for _, part := range append(scope, "AWS4-HMAC-SHA256\n"+at+"\n"+strings.Join(scope, "/")+"\n"+hex.EncodeToString(canonical[:])) {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	return hex.EncodeToString(key)
}
