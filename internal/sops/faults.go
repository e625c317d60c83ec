package sops

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/sops/metadata"
	"github.com/sluice-gitops/sluice/internal/sops/store"
)

// Every fault of this package names the file, and none quotes from it: not a value, and not the words of a parser's
// error, which quote values.

func sopsFault(number, path, seen, why, fix string) *fault.Fault {
	return &fault.Fault{Code: "SLU-SOPS-" + number, Hop: fault.HopSOPS, File: path, Seen: seen, Why: why, Fix: fix}
}

// restore is the command that brings back a file as it was before its last change.
func restore(path string) string {
	file := shellWord(path)
	return fmt.Sprintf("git checkout $(git log -n 1 --skip 1 --format=%%h -- %s) -- %s", file, file)
}

var plainWord = regexp.MustCompile(`^[\w./+@:-]+$`)

// shellWord quotes a path for a command that the reader may copy.
func shellWord(path string) string {
	if plainWord.MatchString(path) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

func tooLarge(path string, size int) *fault.Fault {
	return sopsFault("001", path, fmt.Sprintf("the encrypted file has %d bytes", size),
		fmt.Sprintf("files above %d bytes are not decrypted, as in Flux", MaxSize), "split the file")
}

func unsafeShape(path string, err error) *fault.Fault {
	f := sopsFault("002", path, "the encrypted file is "+err.Error(),
		fmt.Sprintf("it is refused before it can exhaust memory: at most %d levels and %d nodes", maxNesting, maxNodes), restore(path))
	if errors.Is(err, errAliases) {
		f.Seen = "the encrypted file's aliases expand too far"
	}
	f.Err = err
	return f
}

// unreadable explains why a document could not be read: its text, or its metadata.
func unreadable(path string, f Format, err error) *fault.Fault {
	var syntax *store.SyntaxError
	switch {
	case errors.Is(err, metadata.ErrMissing):
		return noMetadata(path)
	case !errors.As(err, &syntax):
		return sopsFault("004", path, "the file's sops metadata cannot be used", err.Error(), restore(path))
	}
	seen := fmt.Sprintf("the encrypted file is not valid %s", f)
	if f == Binary {
		seen = "the encrypted file is not the JSON that sops writes for binary files"
	}
	return sopsFault("003", path, seen+atLine(err), "it was changed by hand or by a tool after it was sealed, or a merge left its marks", restore(path))
}

// atLine tells the line of a syntax error, if it is known.
func atLine(err error) string {
	var syntax *store.SyntaxError
	if errors.As(err, &syntax) && syntax.Line > 0 {
		return fmt.Sprintf(" (line %d)", syntax.Line)
	}
	return ""
}

func noMetadata(path string) *fault.Fault {
	return sopsFault("005", path, "the file has no sops metadata", "it was never encrypted, or its sops entry was removed", restore(path))
}

func undecryptable(path, where string, line int) *fault.Fault {
	seen := "the value at " + where + " cannot be decrypted"
	if where == "" {
		seen = "a value cannot be decrypted"
	}
	if line > 0 {
		seen += fmt.Sprintf(" (line %d)", line)
	}
	return sopsFault("006", path, seen,
		"the encrypted value, or the name of a key above it, was changed after the file was sealed, or the value stands there in plain where the file's rule asks for an encrypted one",
		restore(path))
}

func macMismatch(path string, missing bool) *fault.Fault {
	seen := "MAC mismatch"
	why := "the file was changed after it was sealed: a value was edited, added, removed or moved without sops"
	if missing {
		seen = "the file has no MAC"
		why = "the line was removed after the file was sealed, so nothing shows whether its values are the sealed ones"
	}
	return sopsFault("007", path, seen, why,
		restore(path)+", or seal the change: sops edit --ignore-mac "+shellWord(path))
}

func parserPanicked(path string) *fault.Fault {
	return sopsFault("008", path, "the file is not a document that sops writes", "reading it failed inside the parser", restore(path))
}

func unwritable(path string, f Format) *fault.Fault {
	return sopsFault("009", path, fmt.Sprintf("the decrypted content cannot be written as %s", f),
		"it holds a value that the format has no form for", restore(path))
}

// withFile puts the document's name into a fault that comes from below and has none.
func withFile(err error, path string) error {
	f := fault.From(err)
	if f == nil || f.File != "" {
		return err
	}
	named := *f
	named.File = path
	return &named
}
