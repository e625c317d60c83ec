package lawtest

import (
	"path"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// maxLines is where a file must have been split; style aims at 80 to 250.
const maxLines = 600

func TestGoFilesStayUnderTheirSize(t *testing.T) {
	for _, name := range files(t) {
		if n := strings.Count(read(t, name), "\n"); path.Ext(name) == ".go" && n > maxLines {
			t.Errorf("%s has %d lines: split it by what it holds", name, n)
		}
	}
}

// marker is a text that no tracked file may hold.
type marker struct {
	what  string
	found *regexp.Regexp
	free  *regexp.Regexp // names of files in which it may stand; nil: none
}

var (
	fixtures = regexp.MustCompile(`_test\.go$|(^|/)testdata/`)
	markers  = []marker{
		{what: "unfinished work: write an issue", found: regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME)\b`)},
		{what: "a path of somebody's machine", found: regexp.MustCompile(`(^|[^A-Za-z0-9_.*)}/-])/(ro` + `ot|wo` + `rk)/`)},
		{what: "a private key", found: regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE` + ` KEY`), free: fixtures},
		{what: "an age identity", found: regexp.MustCompile(`AGE-SECRET` + `-KEY-1[0-9A-Z]{20}`), free: fixtures},
		{what: "a Git host's token", found: regexp.MustCompile(`\b(gh[pousr]_[0-9A-Za-z]{30}|glpat-[0-9A-Za-z_-]{20})`)},
		{what: "a merge conflict", found: regexp.MustCompile(`(?m)^(<{7}|>{7}) `), free: fixtures},
	}
)

func TestNoTrackedFileHoldsWhatMustNotBePublished(t *testing.T) {
	for _, name := range files(t) {
		text := read(t, name)
		if !utf8.ValidString(text) {
			continue
		}
		for _, m := range markers {
			if at := m.found.FindStringIndex(text); at != nil && (m.free == nil || !m.free.MatchString(name)) {
				t.Errorf("%s:%d: %s", name, 1+strings.Count(text[:at[0]], "\n"), m.what)
			}
		}
	}
}

func TestMarkersAreRecognised(t *testing.T) {
	for text, want := range map[string]bool{
		"// TO" + "DO: later":                           true,
		"see /ro" + "ot/go/pkg":                         true,
		`"/wo` + `rk/main"`:                             true,
		"https://host/wo" + "rk/main":                   false,
		"$(HOME)/wo" + "rk/x":                           false,
		"-----BEGIN OPENSSH PRIVATE" + " KEY-----":      true,
		"AGE-SECRET" + "-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQ": true,
		"the autoTO" + "DOlist":                         false,
	} {
		got := false
		for _, m := range markers {
			got = got || m.found.MatchString(text)
		}
		if got != want {
			t.Errorf("%q: found %t, want %t", text, got, want)
		}
	}
}

func TestChangelogEntriesSayWhatChangedFirst(t *testing.T) {
	first := regexp.MustCompile(`^(Added|Changed|Fixed|Removed|Security): \S`)
	for _, name := range files(t) {
		if path.Dir(name) == "changelog/unreleased" && path.Base(name) != "TEMPLATE" && !first.MatchString(read(t, name)) {
			t.Errorf("%s: the first line is not as changelog/unreleased/TEMPLATE says", name)
		}
	}
}
