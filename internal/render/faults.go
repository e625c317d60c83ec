package render

import (
	"fmt"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/lazyregexp"
)

const reasonBuild = meta.BuildFailedReason

// invalidKustomization says that a kustomization file cannot be used.
func invalidKustomization(file string, err error) error {
	text := plain(err.Error())
	text = strings.TrimPrefix(text, "invalid Kustomization: ")
	text = strings.TrimPrefix(text, "error converting YAML to JSON: ")
	f := &fault.Fault{
		Code: "SLU-RENDER-002", Hop: fault.HopRender, File: file, Reason: reasonBuild,
		Seen: "it is not a valid kustomization", Why: text,
	}
	if name, ok := strings.CutPrefix(text, "json: unknown field "); ok {
		f.Why = "kustomize knows no field " + name
		f.Fix = "correct or remove the field"
	}
	return f
}

// remoteReference says that a reference would have to be fetched. Without file it stands in the Kustomization's spec.
func remoteReference(file, field, ref string) error {
	return &fault.Fault{
		Code: "SLU-RENDER-004", Hop: fault.HopRender, File: file, Reason: reasonBuild,
		Seen: fmt.Sprintf("%s names %q, which is not in the repository", field, showReference(ref)),
		Why:  "remote references are never fetched while rendering",
		Fix:  "copy what it names into the repository, or make it a GitRepository with a Kustomization of its own",
	}
}

var userinfo = lazyregexp.New(`://[^/@]*@`)

// showReference shortens a reference to what may be shown: URLs carry credentials before the host and in the query.
func showReference(ref string) string {
	ref, _, cut := strings.Cut(userinfo.ReplaceAllString(ref, "://***@"), "?")
	if cut {
		ref += "?…"
	}
	return shorten(ref, 200)
}

func missingReference(file, field, ref, why string) error {
	return &fault.Fault{
		Code: "SLU-RENDER-003", Hop: fault.HopRender, File: file, Reason: reasonBuild,
		Seen: fmt.Sprintf("%s names %q", field, shorten(ref, 200)), Why: why,
		Fix: "correct the reference, or add what it names and push",
	}
}

// cycle says that the last of dirs, named by file, is the base of a kustomization that it leads to.
func cycle(file string, dirs []string) error {
	return &fault.Fault{
		Code: "SLU-RENDER-006", Hop: fault.HopRender, File: file, Reason: reasonBuild,
		Seen: "kustomizations name each other in a circle: " + strings.Join(dirs, " → "),
		Fix:  "remove one of these references",
	}
}

// panicked is the error of a guarded call that panicked.
type panicked struct{ cause string }

func (p *panicked) Error() string { return "panicked: " + p.cause }

// guard runs f and makes a panic an error. kustomize panics on some malformed input. What it panicked with may quote that
// input, so it must pass redaction like any other text.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &panicked{cause: shorten(plain(fmt.Sprint(p)), maxMessage)}
		}
	}()
	return f()
}

// plain puts an error's text on one line, with the paths of the tree as users know them.
func plain(text string) string {
	text = strings.ReplaceAll(text, mount+"/", "")
	text = strings.ReplaceAll(text, mount, ".")
	return strings.Join(strings.Fields(text), " ")
}

// shorten cuts s to about n bytes.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
