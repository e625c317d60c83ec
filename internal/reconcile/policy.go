package reconcile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/render"
	"github.com/sluice-gitops/sluice/internal/secrets/check"
	sopsrules "github.com/sluice-gitops/sluice/internal/secrets/rules"
	"github.com/sluice-gitops/sluice/internal/sops"
	"github.com/sluice-gitops/sluice/internal/source"
)

// SOPSPolicy says what a sealed document is worth that differs from the repository's own .sops.yaml, at the same
// revision: one that seals less than its rule wants, or for somebody whom the rule doesn't list. SOPS's MAC covers
// neither.
type SOPSPolicy int

// The policies. The zero value is Flux's way.
const (
	SOPSPolicyOff     SOPSPolicy = iota // .sops.yaml is not looked at
	SOPSPolicyWarn                      // an event tells of it
	SOPSPolicyEnforce                   // the revision is refused before anything of it is applied
)

var sopsPolicies = []string{"off", "warn", "enforce"}

// Set reads a policy's name. With String and Type it makes the policy a flag's value.
func (p *SOPSPolicy) Set(s string) error {
	i := slices.Index(sopsPolicies, s)
	if i < 0 {
		return fmt.Errorf("SOPS policy %q: want enforce, warn or off", s)
	}
	*p = SOPSPolicy(i)
	return nil
}

// String gives the policy's name.
func (p SOPSPolicy) String() string { return sopsPolicies[p] }

// Type names the flag's kind in help.
func (p SOPSPolicy) Type() string { return "policy" }

// refusedBy are the checks that the policy is about. A recipient that is missing harms nobody but those who can't read.
var refusedBy = []string{string(sopsrules.Narrowed), string(sopsrules.WeakMAC), string(sopsrules.WeakQuorum), string(sopsrules.Unlisted), check.PlainValue}

// guard judges the documents of one attempt before they are opened, so that no key is unwrapped for one that is refused.
// Documents that no rule covers pass, and so do those inside the values of a Secret, which lie under no path. Where an
// artifact of another controller holds no .sops.yaml, nobody can tell whether the repository has one: that is refused too.
type guard struct {
	tree   source.Tree // whole: Flux leaves .sops.yaml out of its artifacts
	origin sourceKey
	policy SOPSPolicy
	warn   func(error)

	mu     sync.Mutex
	told   bool              // that there are no rules; once is enough
	files  map[string]ruling // by path of a .sops.yaml
	inputs []render.Input
}

// ruling is what was read at the path of a .sops.yaml; both nil: nothing is there.
type ruling struct {
	file *sopsrules.File
	err  error
}

// guard returns the guard of an attempt, nil if the policy is off.
func (k *Kustomizations) guard(a *attempt) *guard {
	if k.Options.SOPSPolicy == SOPSPolicyOff {
		return nil
	}
	return &guard{tree: source.Whole(a.rev.Tree), origin: sourceOf(a.obj), policy: k.Options.SOPSPolicy, files: map[string]ruling{}, warn: func(err error) {
		k.Log.Warn("SOPS policy", "kustomization", a.name.String(), "warning", err)
		k.Events.warning(a.obj, a.rev.Name, "SOPSPolicy", err.Error())
	}}
}

// opener puts the guard before an opener. Neither has to be there.
func (g *guard) opener(open render.Opener) render.Opener {
	if g == nil || open == nil {
		return open
	}
	return func(ctx context.Context, name string, data []byte) ([]byte, error) {
		if err := g.judge(name, data); err != nil {
			if g.policy == SOPSPolicyEnforce {
				return nil, err
			}
			g.warn(err)
		}
		return open(ctx, name, data)
	}
}

func (g *guard) judge(name string, data []byte) error {
	file, ok := g.real(name)
	if !ok {
		return nil
	}
	rule, err := g.rule(file)
	if err != nil || rule == nil {
		return err
	}
	judged := file
	if sops.FormatFor(name) != sops.FormatFor(file) {
		judged = name // the name says the format
	}
	found := slices.DeleteFunc(check.Sealed(judged, data, rule), func(f check.Finding) bool { return !slices.Contains(refusedBy, f.Check) })
	if len(found) == 0 {
		return nil
	}
	f := found[0]
	at := file
	if f.Line > 0 {
		at += ":" + strconv.Itoa(f.Line)
	}
	seen := f.Seen
	if more := len(found) - 1; more > 0 {
		seen += fmt.Sprintf(", and %d more such findings", more)
	}
	return &fault.Fault{Code: "SLU-SOPS-030", Hop: fault.HopSOPS, File: at, Seen: seen, Why: f.Why, Fix: f.Fix}
}

// real is the file of the tree that a document is: render adds .env to the names of env files that have no extension.
func (g *guard) real(name string) (string, bool) {
	for _, file := range []string{name, strings.TrimSuffix(name, ".env")} {
		if _, _, err := g.tree.ReadFile(file); err == nil {
			return file, true
		}
	}
	return "", false
}

// rule is that of the nearest .sops.yaml above the file, nil if there is none.
func (g *guard) rule(file string) (*sopsrules.Rule, error) {
	for dir := path.Dir(file); ; dir = path.Dir(dir) {
		r := g.at(path.Join(dir, sopsrules.Name))
		switch {
		case r.err != nil:
			return nil, r.err
		case r.file != nil:
			return r.file.For(file)
		case dir == ".":
			return nil, g.withoutRules(file)
		}
	}
}

// withoutRules is what it means that no .sops.yaml stands above a file: in a repository, that it has no rules.
func (g *guard) withoutRules(file string) error {
	if !source.Archived(g.tree) {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.told && g.policy == SOPSPolicyWarn {
		return nil
	}
	g.told = true
	return &fault.Fault{Code: "SLU-SOPS-032", Hop: fault.HopSOPS, File: file,
		Seen: "the artifact of " + g.origin.Kind + "/" + g.origin.String() + " holds no .sops.yaml to judge it by",
		Why:  "source-controller leaves .sops.yaml out of artifacts, so whether the repository has rules can't be seen",
		Fix:  "keep it in the artifact, by the line !.sops.yaml in the repository's .sourceignore; or start the controller with --sops-policy=off",
	}
}

func (g *guard) at(name string) ruling {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r, ok := g.files[name]; ok {
		return r
	}
	var r ruling
	switch data, hash, err := g.tree.ReadFile(name); {
	case errors.Is(err, fs.ErrNotExist):
		g.inputs = append(g.inputs, render.Input{Path: name, Missing: true})
	case err != nil:
		r.err = err
	default:
		g.inputs = append(g.inputs, render.Input{Path: name, Hash: hash})
		r.file, r.err = sopsrules.Parse(name, data)
	}
	g.files[name] = r
	return r
}

// read lists what the attempt has read of the rules: a change of them is a reason to look at the documents again.
func (g *guard) read() []render.Input {
	if g == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.inputs)
}
