package gitrepo

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sluice-gitops/sluice/internal/local/gitexec"
)

// first is the commit that a repository begins with.
type first struct {
	files   map[string][]byte
	message string
	author  Author
}

// fastImport makes the commit straight in a repository's object store, with no index and no working copy.
func fastImport(ctx context.Context, repo string, c first) error {
	cmd, err := gitexec.Command(ctx, repo, "fast-import", "--quiet", "--done", "--date-format=raw")
	if err != nil {
		return err
	}
	cmd.Stdin = bytes.NewReader(c.stream(time.Now()))
	_, err = gitexec.Output(ctx, cmd, "fast-import")
	return err
}

func (c first) stream(now time.Time) []byte {
	var b bytes.Buffer
	data := func(p []byte) {
		fmt.Fprintf(&b, "data %d\n", len(p))
		b.Write(p)
		b.WriteByte('\n')
	}
	who := fmt.Sprintf("%s <%s> %d +0000", identity(c.author.Name), identity(c.author.Email), now.Unix())
	fmt.Fprintf(&b, "commit %s\nauthor %s\ncommitter %s\n", branchRef, who, who)
	data([]byte(c.message))
	for _, name := range slices.Sorted(maps.Keys(c.files)) {
		fmt.Fprintf(&b, "M 100644 inline %s\n", quotePath(name))
		data(c.files[name])
	}
	b.WriteString("done\n")
	return b.Bytes()
}

// identity drops what would end a name or an address early.
func identity(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("<>\n\x00", r) {
			return -1
		}
		return r
	}, s)
}

// quotePath writes a path in fast-import's C style.
func quotePath(name string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
}
