package cipher

import (
	"regexp"
	"strings"
	"sync/atomic"

	"github.com/sluice-gitops/sluice/internal/sops/metadata"
)

// rule chooses values by the keys above them and the comments before them and before what they stand in.
type rule struct {
	encSuffix, unencSuffix   string
	encRegex, unencRegex     *regexp.Regexp
	encComment, unencComment *regexp.Regexp
}

// newRule compiles a document's rule. sops takes a regex that is none for one that matches nothing.
func newRule(m *metadata.Metadata) *rule {
	return &rule{
		m.EncryptedSuffix, m.UnencryptedSuffix, compiled(m.EncryptedRegex), compiled(m.UnencryptedRegex),
		compiled(m.EncryptedCommentRegex), compiled(m.UnencryptedCommentRegex),
	}
}

const nothing = `[^\x00-\x{10FFFF}]`

// expression is a compiled regex.
type expression struct {
	text string
	re   *regexp.Regexp
}

// latest is the regex that was compiled last: the documents of a repository mostly have the same.
var latest atomic.Pointer[expression]

func compiled(text string) *regexp.Regexp {
	if text == "" {
		return nil
	}
	if e := latest.Load(); e != nil && e.text == text {
		return e.re
	}
	re, err := regexp.Compile(text)
	if err != nil {
		re = regexp.MustCompile(nothing)
	}
	latest.Store(&expression{text, re})
	return re
}

// place is what the rule knows of a place in the tree: which of its parts some key above has met, and which some comment
// that governs it.
type place struct {
	encSuffix, unencSuffix   bool
	encRegex, unencRegex     bool
	encComment, unencComment bool
}

// under gives the place below a key.
func (r *rule) under(p place, key string) place {
	p.encSuffix = p.encSuffix || r.encSuffix != "" && strings.HasSuffix(key, r.encSuffix)
	p.unencSuffix = p.unencSuffix || r.unencSuffix != "" && strings.HasSuffix(key, r.unencSuffix)
	p.encRegex = p.encRegex || r.encRegex != nil && r.encRegex.MatchString(key)
	p.unencRegex = p.unencRegex || r.unencRegex != nil && r.unencRegex.MatchString(key)
	return p
}

// chooses says whether what stands there is encrypted.
func (r *rule) chooses(p place) bool {
	encrypted := true
	if r.unencSuffix != "" && p.unencSuffix {
		encrypted = false
	}
	if r.encSuffix != "" {
		encrypted = p.encSuffix
	}
	if r.unencRegex != nil && p.unencRegex {
		encrypted = false
	}
	if r.encRegex != nil {
		encrypted = p.encRegex
	}
	if r.unencComment != nil && p.unencComment {
		encrypted = false
	}
	if r.encComment != nil {
		encrypted = p.encComment
	}
	return encrypted
}

// comments follows the comments of one mapping or list on the way through it: they govern what comes next, one another
// among it, until something that is no comment has passed.
type comments struct {
	rule     *rule
	at       place // of the mapping or list
	enc, not bool  // whether one that is in force has met its regex
}

// comment gives the place of a comment, which does not choose itself but can free itself from being chosen.
func (c *comments) comment(text string) place {
	p := c.next()
	if c.rule.unencComment != nil && c.rule.unencComment.MatchString(text) {
		c.not, p.unencComment = true, true
	}
	if c.rule.encComment != nil && c.rule.encComment.MatchString(text) {
		c.enc = true
	}
	return p
}

// next gives the place of what comes next.
func (c *comments) next() place {
	p := c.at
	p.encComment = p.encComment || c.enc
	p.unencComment = p.unencComment || c.not
	return p
}

// passed ends the comments' force.
func (c *comments) passed() { c.enc, c.not = false, false }
