// Package lazyregexp compiles regular expressions that stand in package variables when they are first used: most runs
// of a command use few of them, and compiling one that counts its repetitions takes longer than many a command.
//
// It is for expressions that are written in the source alone. One that comes from a user is compiled where it is read,
// so that its error has a place. Like regexp.MustCompile it panics at a malformed one; in tests it does so at once. It
// stands below every other package and imports none of them.
package lazyregexp

import (
	"os"
	"regexp"
	"strings"
	"sync"
)

// Regexp is a regular expression that is compiled once, when it is first used. It is safe for concurrent use.
type Regexp struct {
	get func() *regexp.Regexp
}

// underTest says whether this is a test's program. Package testing would say so too, and bring its flags with it.
var underTest = len(os.Args) > 0 && strings.HasSuffix(strings.TrimSuffix(os.Args[0], ".exe"), ".test")

// New returns the expression, in the syntax of package regexp, without compiling it.
func New(expr string) *Regexp {
	r := &Regexp{sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })}
	if underTest {
		r.get() // a malformed one fails the tests of its package, used or not
	}
	return r
}

// MatchString is that of package regexp, and so are the methods below.
func (r *Regexp) MatchString(s string) bool { return r.get().MatchString(s) }

// Match says whether b holds a match.
func (r *Regexp) Match(b []byte) bool { return r.get().Match(b) }

// FindString returns the leftmost match in s, or "".
func (r *Regexp) FindString(s string) string { return r.get().FindString(s) }

// FindStringSubmatch returns the leftmost match in s and its groups, or nil.
func (r *Regexp) FindStringSubmatch(s string) []string { return r.get().FindStringSubmatch(s) }

// FindAllStringSubmatch returns the first n matches in s, all if n is negative, each with its groups.
func (r *Regexp) FindAllStringSubmatch(s string, n int) [][]string {
	return r.get().FindAllStringSubmatch(s, n)
}

// ReplaceAllString returns s with its matches replaced; $1 in repl is the first group.
func (r *Regexp) ReplaceAllString(s, repl string) string { return r.get().ReplaceAllString(s, repl) }
