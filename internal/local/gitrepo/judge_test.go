//go:build judges

package gitrepo

import (
	"os"
	"os/exec"
	"testing"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// It takes root, or sudo, to give a folder away.
func TestJudgeSourceOfAnotherUserIsAFault(t *testing.T) {
	source := newSource(t)
	chown := []string{"chown", "-R", "12345:12345", source}
	if os.Geteuid() != 0 {
		chown = append([]string{"sudo", "-n"}, chown...)
	}
	if out, err := exec.Command(chown[0], chown[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Setenv("HOME", t.TempDir())
	_, err := newRepo(t).Import(t.Context(), source, ".")
	wantFault(t, err, "SLU-PLATFORM-036", "safe.directory")
	// The fix does what it says.
	write(t, os.Getenv("HOME"), ".gitconfig", "[safe]\n\tdirectory = "+source+"\n")
	if _, err := newRepo(t).Import(t.Context(), source, "."); err != nil {
		t.Errorf("after the fix: %v (%v)", err, fault.From(err))
	}
}
