package lawtest

import (
	"path"
	"regexp"
	"strings"
	"testing"
)

const compat = "docs/compat.md"

// proof is a test that docs/compat.md names: `TestX`, `package: TestX`, or `bench/parity: fixture`.
type proof struct {
	line int
	dir  string // of the package; empty: the section names none
	name string
}

var (
	cell      = regexp.MustCompile("`([^`]+)`")
	testName  = regexp.MustCompile(`^(Test|Fuzz)[A-Z]`)
	inSection = regexp.MustCompile("Tests are in `([^`]+)` where no package is named")
)

// proofs reads the tables of a page: what each row names in its last column. bare are the lines of rows that name nothing.
func proofs(page string) (found []proof, bare []int) {
	dir, kind := "", ""
	for i, line := range strings.Split(page, "\n") {
		if m := inSection.FindStringSubmatch(line); m != nil {
			dir = m[1]
		}
		if !strings.HasPrefix(line, "|") {
			kind = ""
			for _, m := range cell.FindAllStringSubmatch(line, -1) { // tests that the text names
				if in, name, ok := strings.Cut(m[1], ": "); ok && testName.MatchString(name) {
					found = append(found, proof{i + 1, dirOf(in), name})
				}
			}
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		last := strings.TrimSpace(cells[len(cells)-1])
		switch {
		case kind == "":
			kind = last // the header
			continue
		case strings.HasPrefix(last, "---"):
			continue
		}
		before := len(found)
		for _, m := range cell.FindAllStringSubmatch(last, -1) {
			in, name, named := strings.Cut(m[1], ": ")
			switch {
			case kind == "Fixture":
				found = append(found, proof{i + 1, "bench/parity", m[1]})
			case named:
				found = append(found, proof{i + 1, dirOf(in), name})
			default:
				found = append(found, proof{i + 1, dir, in})
			}
		}
		if len(found) == before && (kind != "Fixture" || !strings.HasPrefix(last, "all")) {
			bare = append(bare, i+1)
		}
	}
	return found, bare
}

func dirOf(pkg string) string {
	if pkg == "bench" || strings.HasPrefix(pkg, "bench/") || strings.HasPrefix(pkg, "internal/") {
		return pkg
	}
	return "internal/" + pkg
}

// A claim of docs/compat.md is worth what its test is worth, so each has one, and it is there.
func TestEveryRowOfTheCompatibilityPageNamesATestThatExists(t *testing.T) {
	there, fixtures := map[string]bool{}, map[string]bool{}
	function := regexp.MustCompile(`(?m)^func ((Test|Fuzz)\w+)\(`)
	for _, name := range files(t) {
		dir, base := path.Split(name)
		if strings.HasSuffix(base, "_test.go") {
			for _, m := range function.FindAllStringSubmatch(read(t, name), -1) {
				there[dir+m[1]] = true
			}
		}
		if dir == "bench/parity/testdata/" {
			fixtures[strings.TrimSuffix(base, ".txtar")] = true
		}
	}
	found, bare := proofs(read(t, compat))
	for _, line := range bare {
		t.Errorf("%s:%d: the row names no test", compat, line)
	}
	if len(found) < 50 {
		t.Fatalf("only %d tests are named: the page has another form", len(found))
	}
	for _, p := range found {
		if !there[p.dir+"/"+p.name] && (p.dir != "bench/parity" || !fixtures[p.name]) {
			t.Errorf("%s:%d: there is no %s in %s", compat, p.line, p.name, p.dir)
		}
	}
}

func TestRowsOfTheCompatibilityPageAreRead(t *testing.T) {
	found, bare := proofs("Tests are in `internal/a` where no package is named, and `b: TestText` too.\n\n| What | Test |\n|---|---|\n" +
		"| x `TestNot` | `TestX`, `c: TestY`, `bench/parity: f` |\n| y | |\n\n| What | Fixture |\n|---|---|\n| z | all |\n| z | `g` |\n| z | |\n")
	want := []proof{{1, "internal/b", "TestText"}, {5, "internal/a", "TestX"}, {5, "internal/c", "TestY"}, {5, "bench/parity", "f"}, {11, "bench/parity", "g"}}
	if len(found) != len(want) {
		t.Fatalf("found %+v", found)
	}
	for i := range want {
		if found[i] != want[i] {
			t.Errorf("%+v, want %+v", found[i], want[i])
		}
	}
	if len(bare) != 2 || bare[0] != 6 || bare[1] != 12 {
		t.Errorf("without a test: %v", bare)
	}
}
