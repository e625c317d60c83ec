package lazyregexp

import (
	"regexp"
	"slices"
	"sync"
	"testing"
)

func TestMethodsAnswerAsThoseOfTheCompiledExpression(t *testing.T) {
	const expr = `(a+)(b)?`
	want := regexp.MustCompile(expr)
	for _, s := range []string{"", "x", "aab", "xaaby a", "ab ab"} {
		r := New(expr)
		if r.MatchString(s) != want.MatchString(s) || r.Match([]byte(s)) != want.Match([]byte(s)) || r.FindString(s) != want.FindString(s) ||
			r.ReplaceAllString(s, "<$1>") != want.ReplaceAllString(s, "<$1>") || !slices.Equal(r.FindStringSubmatch(s), want.FindStringSubmatch(s)) ||
			!slices.EqualFunc(r.FindAllStringSubmatch(s, -1), want.FindAllStringSubmatch(s, -1), slices.Equal) {
			t.Errorf("%q is matched in another way", s)
		}
	}
}

func TestNothingIsCompiledBeforeItIsUsed(t *testing.T) {
	defer func(was bool) { underTest = was }(underTest)
	underTest = false
	r := New(`(`)
	defer func() {
		if recover() == nil {
			t.Error("a malformed expression was used")
		}
	}()
	r.MatchString("")
}

func TestAMalformedExpressionFailsTheTestsOfItsPackage(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("it was not compiled")
		}
	}()
	New(`(`)
}

func TestAnExpressionMayBeSharedBeforeItsFirstUse(t *testing.T) {
	r := New(`^a$`)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if !r.MatchString("a") {
				t.Error("no match")
			}
		})
	}
	all.Wait()
}
