package event

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// Renderer is a Sink that shows events to somebody until Close.
type Renderer interface {
	Sink
	Close()
}

type closer struct{ Sink }

func (closer) Close() {}

// NewRenderer returns the renderer for mode, the value of --progress: auto (terminal or plain, by what w is), plain,
// json or none. quiet keeps only warnings and failures of the text renderers.
func NewRenderer(mode string, w io.Writer, quiet bool, env func(string) string) (Renderer, error) {
	fd, terminal := -1, false
	if f, ok := w.(*os.File); ok {
		fd = int(f.Fd())
		terminal = term.IsTerminal(fd)
	}
	style := StyleFor(env, terminal)
	var r Renderer
	switch {
	case mode == "none":
		return closer{Discard}, nil
	case mode == "json":
		return closer{NewNDJSON(w)}, nil
	case mode != "auto" && mode != "plain":
		return nil, fmt.Errorf("unknown progress %q: use auto, plain, json or none", mode)
	case quiet:
		return closer{loud{newPlain(w, style)}}, nil
	case mode == "auto" && terminal && env("CI") == "" && env("TERM") != "dumb":
		r = NewTTY(w, style, func() int { return columns(fd) })
	default:
		r = NewPlain(w, style)
	}
	return r, nil
}

// loud passes only what a quiet user still wants to read.
type loud struct{ next Sink }

func (l loud) Emit(e Event) {
	if e.Phase == Warn || e.Phase == Failed {
		l.next.Emit(e)
	}
}

func columns(fd int) int {
	if w, _, err := term.GetSize(fd); err == nil && w > 20 {
		return w
	}
	return 80
}
