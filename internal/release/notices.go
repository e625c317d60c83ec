package release

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
)

// NoticesFile is the name of the file with the licence texts of others' code.
const NoticesFile = "THIRD_PARTY_NOTICES"

// standardLibrary is how Notices names what is of Go itself.
const standardLibrary = "the Go standard library"

// Notices are the licence texts of the modules that a program is linked from.
type Notices struct {
	modules map[string]bool // "path@version"
	texts   map[string]*notice
}

// notice is one text and where it was found, "path@version/file".
type notice struct {
	text  []byte
	files []string
}

// Licensor gives the licence texts of what the program for t is linked from.
type Licensor func(ctx context.Context, t Target) (*Notices, error)

// texts are the names of files that licences ask to be passed on; licence are those of them that hold one.
var (
	texts   = regexp.MustCompile(`(?i)^(licen[cs]es?|copying|notice|copyright|patents|authors|unlicense)([-._].*)?$`)
	licence = regexp.MustCompile(`(?i)^(licen[cs]es?|copying|unlicense)([-._].*)?$`)
	code    = regexp.MustCompile(`(?i)\.(go|s|c|h|sh|py|tmpl|json)$`)
)

// Licenses returns a Licensor that asks the go command which packages ./cmd/sluice of the module in dir is made of, and
// more packages whose data are published with it, and reads the licences that lie beside them, from each package's folder
// up to its module's. A module without one is an error that names it.
func Licenses(dir string, more ...string) Licensor {
	return func(ctx context.Context, t Target) (*Notices, error) {
		root, err := ask(ctx, dir, t, "env", "GOROOT")
		if err != nil {
			return nil, err
		}
		list, err := ask(ctx, dir, t, append([]string{"list", "-deps", "-json=Dir,Standard,Module", "./cmd/sluice"}, more...)...)
		if err != nil {
			return nil, err
		}
		return gather(bytes.NewReader(list), string(bytes.TrimSpace(root)))
	}
}

// ask runs the go command as Go runs it for t.
func ask(ctx context.Context, dir string, t Target, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Env = dir, environment(os.Environ(), t)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s for %s: %w\n%s", args[0], t, err, strings.TrimSpace(said.String()))
	}
	return out, nil
}

// listed is what `go list -json` tells of a package.
type listed struct {
	Dir      string
	Standard bool
	Module   *struct {
		Path, Version, Dir string
		Main               bool
		Replace            *struct{ Path, Version string }
	}
}

// gather reads the licences of the packages that `go list -json` printed. goroot is where the standard library's lie: what
// it vendors is told to belong to modules that it does not.
func gather(list io.Reader, goroot string) (*Notices, error) {
	n := &Notices{modules: map[string]bool{}, texts: map[string]*notice{}}
	seen, bare := map[string]bool{}, map[string]bool{}
	for in := json.NewDecoder(list); ; {
		var p listed
		if err := in.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("what go list printed: %w", err)
		}
		name, top := standardLibrary, goroot
		switch {
		case p.Standard:
			p.Dir = top
		case p.Module == nil || p.Module.Main:
			continue
		default:
			name, top = p.Module.Path+"@"+p.Module.Version, p.Module.Dir
			if r := p.Module.Replace; r != nil {
				name = r.Path + "@" + r.Version
			}
		}
		if !n.modules[name] {
			n.modules[name], bare[name] = true, true
		}
		for at := p.Dir; ; at = filepath.Dir(at) {
			if !seen[at] {
				seen[at] = true
				found, err := n.read(name, top, at)
				if err != nil {
					return nil, err
				}
				if found {
					delete(bare, name)
				}
			}
			if at == top || len(at) <= len(top) {
				break
			}
		}
	}
	if len(bare) > 0 {
		return nil, fmt.Errorf("no licence text is in: %s", strings.Join(slices.Sorted(maps.Keys(bare)), ", "))
	}
	return n, nil
}

// read takes the texts that lie in folder at of the module name, which begins at top, and says whether there is a licence.
func (n *Notices) read(name, top, at string) (licensed bool, err error) {
	entries, err := os.ReadDir(at)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || !texts.MatchString(e.Name()) || code.MatchString(e.Name()) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(at, e.Name()))
		if err != nil {
			return false, err
		}
		text := append(bytes.TrimSpace(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))), '\n')
		if len(text) == 1 {
			continue
		}
		file, err := filepath.Rel(top, filepath.Join(at, e.Name()))
		if err != nil {
			return false, err
		}
		key := fmt.Sprintf("%x", sha256.Sum256(text))
		if n.texts[key] == nil {
			n.texts[key] = &notice{text: text}
		}
		n.texts[key].files = append(n.texts[key].files, name+"/"+filepath.ToSlash(file))
		licensed = licensed || licence.MatchString(e.Name())
	}
	return licensed, nil
}

// Text is the file to publish: each text once, under the files that hold it, in the order of the first of them.
func (n *Notices) Text() []byte {
	all := slices.Collect(maps.Values(n.texts))
	for _, t := range all {
		slices.Sort(t.files)
	}
	slices.SortFunc(all, func(a, b *notice) int { return strings.Compare(a.files[0], b.files[0]) })
	var out bytes.Buffer
	fmt.Fprintf(&out, "Sluice is linked from %s and the Go modules below. Each is there at its path and\nversion. These are the licences and notices that they come with.\n", standardLibrary)
	rule := strings.Repeat("=", 100)
	for _, t := range all {
		fmt.Fprintf(&out, "\n%s\n%s\n%s\n\n%s", rule, strings.Join(t.files, "\n"), rule, t.text)
	}
	return out.Bytes()
}

// covers returns an error that names the modules without a licence among those that the linker recorded in b.
func (n *Notices) covers(b Binary, extra ...*debug.Module) error {
	var bare []string
	for _, m := range append(slices.Clip(b.Info.Deps), extra...) {
		if m.Replace != nil {
			m = m.Replace
		}
		if name := m.Path + "@" + m.Version; !n.modules[name] {
			bare = append(bare, name)
		}
	}
	if bare != nil {
		return fmt.Errorf("the licences of these linked modules are not known: %s", strings.Join(bare, ", "))
	}
	return nil
}
