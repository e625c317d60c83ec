package faults

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// docs/faults.md names a test for every fault: each is there, and each test of this package is named.
func TestTheTableOfFaultsNamesTestsThatExist(t *testing.T) {
	text, err := os.ReadFile("../../../docs/faults.md")
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`\bTest[A-Z]\w+`)
	named := map[string]bool{}
	for _, n := range name.FindAllString(string(text), -1) {
		named[n] = true
	}
	have := func(dir string) string {
		out, err := exec.Command("grep", "-rhoE", "--include=*_test.go", `^func Test[A-Z]\w+`, dir).Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out) + "\n"
	}
	all := have("../..")
	for n := range named {
		if !strings.Contains(all, "func "+n+"\n") {
			t.Errorf("docs/faults.md names %s, which does not exist", n)
		}
	}
	for _, n := range name.FindAllString(have("."), -1) {
		if !named[n] && n != "TestMain" && n != t.Name() {
			t.Errorf("docs/faults.md does not name %s", n)
		}
	}
	if len(named) < 20 {
		t.Errorf("docs/faults.md names only %d tests", len(named))
	}
}
