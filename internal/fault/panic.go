package fault

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
)

// Panicked makes a fault of what recover returned, to be called by the deferred function itself. It says where, and of
// the value no more than its type unless the runtime made it: what code panics with may quote a document.
func Panicked(value any, hop Hop, code string) *Fault {
	if f, ok := value.(*Fault); ok {
		return f // caught before, in another goroutine
	}
	what := fmt.Sprintf("a value of type %T", value)
	if err, ok := value.(runtime.Error); ok {
		what = err.Error()
	}
	return &Fault{
		Code: code, Hop: hop, Seen: "a bug: panic at " + panickedAt() + " with " + what,
		Why: "the attempt was given up; nothing else was affected", Fix: "report the line above, and the manifest that brings it about, without its secrets",
	}
}

// panickedAt is the function and line that panicked: the frame below the runtime's.
func panickedAt() string {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	for below := false; ; {
		f, more := frames.Next()
		inRuntime := strings.HasPrefix(f.Function, "runtime.")
		if below && !inRuntime {
			return fmt.Sprintf("%s (%s:%d)", f.Function[strings.LastIndex(f.Function, "/")+1:], filepath.Base(f.File), f.Line)
		}
		if below = below || f.Function == "runtime.gopanic"; !more {
			return "an unknown place"
		}
	}
}
