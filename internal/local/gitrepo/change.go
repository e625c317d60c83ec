package gitrepo

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sluice-gitops/sluice/internal/local/gitexec"
)

// change is a commit to be made on main.
type change struct {
	parent  string // hash; empty for the first commit
	files   map[string][]byte
	modes   map[string]string // of files that exist already; 100644 for the rest
	removed []string
	message string
	author  Author
}

// fastImport makes the commit straight in a repository's object store, with no index and no working copy, and moves
// main onto it, which git refuses unless main is still at the parent.
func fastImport(ctx context.Context, repo string, c change) error {
	cmd, err := gitexec.Command(ctx, repo, "fast-import", "--quiet", "--done", "--date-format=raw")
	if err != nil {
		return err
	}
	cmd.Stdin = bytes.NewReader(c.stream(time.Now()))
	_, err = gitexec.Output(ctx, cmd, "fast-import")
	return err
}

func (c change) stream(now time.Time) []byte {
	var b bytes.Buffer
	data := func(p []byte) {
		fmt.Fprintf(&b, "data %d\n", len(p))
		b.Write(p)
		b.WriteByte('\n')
	}
	who := fmt.Sprintf("%s <%s> %d +0000", identity(c.author.Name), identity(c.author.Email), now.Unix())
	fmt.Fprintf(&b, "commit %s\nauthor %s\ncommitter %s\n", branchRef, who, who)
	data([]byte(c.message))
	if c.parent != "" {
		fmt.Fprintf(&b, "from %s\n", c.parent)
	}
	for _, name := range c.removed {
		fmt.Fprintf(&b, "D %s\n", quotePath(name))
	}
	for _, name := range slices.Sorted(maps.Keys(c.files)) {
		mode := c.modes[name]
		if mode != "100755" {
			mode = "100644"
		}
		fmt.Fprintf(&b, "M %s inline %s\n", mode, quotePath(name))
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

// held is what a commit has at a path.
type held struct{ mode, hash string }

// look asks a commit for the given paths and all their parents.
func look(ctx context.Context, repo, commit string, names []string) (map[string]held, error) {
	ask := map[string]bool{}
	for _, name := range names {
		for ; name != "."; name = path.Dir(name) {
			ask[name] = true
		}
	}
	found := map[string]held{}
	if len(ask) == 0 {
		return found, nil
	}
	args := append([]string{"--literal-pathspecs", "ls-tree", "-z", commit, "--"}, slices.Sorted(maps.Keys(ask))...)
	out, err := gitexec.Run(ctx, repo, args...)
	if err != nil {
		return nil, err
	}
	for _, line := range list(string(out)) {
		meta, name, _ := strings.Cut(line, "\t")
		if f := strings.Fields(meta); len(f) == 3 {
			found[name] = held{mode: f[0], hash: f[2]}
		}
	}
	return found, nil
}

// differing reduces what is wanted to what a commit does not have yet. A file where a directory is needed, or the other
// way round, is not ours to replace.
func differing(found map[string]held, files map[string][]byte, removed []string) (c change, err error) {
	c.files, c.modes = map[string][]byte{}, map[string]string{}
	for name, data := range files {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if at, ok := found[dir]; ok && at.mode != "040000" {
				return c, platformFault("SLU-PLATFORM-030", dir+" is a file in the repository", name+" needs it to be a folder",
					command("git", "mv", dir, dir+".old")+", then commit and push", nil)
			}
		}
		at, ok := found[name]
		if ok && !strings.HasPrefix(at.mode, "100") && at.mode != "120000" {
			return c, platformFault("SLU-PLATFORM-030", name+" is a folder in the repository", "the platform keeps a file there",
				command("git", "mv", name, name+".old")+", then commit and push", nil)
		}
		if !ok || at.hash != blobHash(data) || at.mode == "120000" {
			c.files[name], c.modes[name] = data, at.mode
		}
	}
	for _, name := range removed {
		if _, wanted := files[name]; wanted {
			continue
		}
		if _, ok := found[name]; ok {
			c.removed = append(c.removed, name)
		}
	}
	slices.Sort(c.removed)
	return c, nil
}

func blobHash(data []byte) string {
	h := sha1.New()
	fmt.Fprintf(h, "blob %d\x00", len(data))
	h.Write(data)
	return hex.EncodeToString(h.Sum(nil))
}

// paths are all that the change touches.
func (c change) paths() []string {
	return slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(c.files)), c.removed...)))
}
