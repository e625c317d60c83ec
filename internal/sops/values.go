package sops

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/sluice-gitops/sluice/internal/sops/tree"
)

// TreePath names a value inside a document: strings for keys, ints for positions in lists.
type TreePath []any

// ErrTreePath is what ParseTreePath returns for a text that is no path.
var ErrTreePath = errors.New(`not a path into a document: want ["key"]["key"][0]`)

// ParseTreePath reads sops's notation: ["data"]["password"] or ['list'][0]. Brackets inside quotes belong to the key.
func ParseTreePath(text string) (TreePath, error) {
	var p TreePath
	for rest := strings.TrimSpace(text); rest != ""; {
		if rest[0] != '[' || len(rest) < 2 {
			return nil, ErrTreePath
		}
		rest = rest[1:]
		if q := rest[0]; q == '"' || q == '\'' {
			end := strings.Index(rest[1:], string(q)+"]")
			if end < 0 {
				return nil, ErrTreePath
			}
			p, rest = append(p, rest[1:1+end]), rest[end+3:]
			continue
		}
		number, after, ok := strings.Cut(rest, "]")
		n, err := strconv.Atoi(number)
		if !ok || err != nil || n < 0 {
			return nil, ErrTreePath
		}
		p, rest = append(p, n), after
	}
	if len(p) == 0 {
		return nil, ErrTreePath
	}
	return p, nil
}

// String writes the path in sops's notation.
func (p TreePath) String() string {
	var b strings.Builder
	for _, c := range p {
		if n, ok := c.(int); ok {
			fmt.Fprintf(&b, "[%d]", n)
		} else {
			fmt.Fprintf(&b, "[%q]", c)
		}
	}
	return b.String()
}

// Extract writes one value, or the part of the first document below p, in a format. Text comes without quotes and
// without a line end, as sops writes it.
func (d *Document) Extract(p TreePath, f Format, in Indents) (out []byte, err error) {
	v, err := d.branches[0].At(p)
	if err != nil {
		return nil, noSuchValue(d.path, p)
	}
	st := in.store(f)
	switch v := v.(type) {
	case tree.Branch:
		out, err = st.Write([]tree.Branch{v})
	case string:
		return []byte(v), nil
	default:
		out, err = st.WriteValue(v)
	}
	if err != nil {
		return nil, unwritable(d.path, f)
	}
	return out, nil
}

// Set puts a value at p of the first document, making the keys above it, and says whether that changed anything.
func (d *Document) Set(p TreePath, v any) (changed bool, err error) {
	b, changed, err := d.branches[0].Set(p, v)
	if err != nil {
		return false, noSuchValue(d.path, p)
	}
	d.branches[0] = b
	return changed, nil
}

// Unset removes the value at p of the first document.
func (d *Document) Unset(p TreePath) error {
	b, err := d.branches[0].Unset(p)
	if err != nil {
		return noSuchValue(d.path, p)
	}
	d.branches[0] = b
	return nil
}

// Each calls do with every scalar at the top of the first document, in order, as text. It fails at the first value that
// is a mapping or a list.
func (d *Document) Each(do func(key, value string) error) error {
	for _, item := range d.branches[0] {
		key, ok := item.Key.(string)
		if !ok {
			continue // a comment
		}
		var text string
		switch v := item.Value.(type) {
		case tree.Branch, []any:
			return sopsFault("020", d.path, fmt.Sprintf("the value of %q is not a scalar", key),
				"an environment has no form for it", "choose the part that you need: sluice secrets decrypt --extract '[\"key\"]' "+shellWord(d.path))
		case string:
			text = v
		case nil:
		default:
			text = tree.Text(v)
		}
		if err := do(key, text); err != nil {
			return err
		}
	}
	return nil
}

func noSuchValue(path string, p TreePath) error {
	return sopsFault("019", path, "the document has no value at "+p.String(),
		"a key on the way is missing, or is a list where the path has a key", "look at its shape: sluice secrets decrypt "+shellWord(path))
}
