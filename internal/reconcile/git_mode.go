package reconcile

import (
	"fmt"
	"slices"

	sourcev1 "github.com/fluxcd/source-controller/api/v1"
)

// GitMode says who reconciles GitRepositories: one controller alone may write an object's status.
type GitMode int

// The modes. The zero value is Sluice's own way.
const (
	GitServe GitMode = iota // this process fetches them, hands them on in memory and serves their artifacts
	GitRead                 // Flux's source-controller does; their artifacts are read like those of every other source
)

var gitModes = []string{"serve", "read"}

// Set reads a mode's name. With String and Type it makes the mode a flag's value.
func (m *GitMode) Set(s string) error {
	i := slices.Index(gitModes, s)
	if i < 0 {
		return fmt.Errorf("%q: want serve or read", s)
	}
	*m = GitMode(i)
	return nil
}

// String gives the mode's name.
func (m GitMode) String() string { return gitModes[m] }

// Type names the flag's kind in help.
func (m GitMode) Type() string { return "mode" }

// external returns an empty object of a source kind that others reconcile, nil for any other kind.
func (m GitMode) external(kind string) externalSource {
	switch kind {
	case sourcev1.OCIRepositoryKind:
		return &sourcev1.OCIRepository{}
	case sourcev1.BucketKind:
		return &sourcev1.Bucket{}
	case sourcev1.ExternalArtifactKind:
		return &sourcev1.ExternalArtifact{}
	case sourcev1.GitRepositoryKind:
		if m == GitRead {
			return &sourcev1.GitRepository{}
		}
	}
	return nil
}
