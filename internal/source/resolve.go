package source

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
)

// target is a reference of the remote that a Spec chose.
type target struct {
	label  string        // what stands before @ in the revision's name; empty for a bare commit
	want   plumbing.Hash // what the remote will serve: a tag object, if the reference is an annotated tag
	commit plumbing.Hash // what it comes down to
	tag    string        // its short name, if it is a tag
}

// tagObject is the annotated tag's own object, if it is one.
func (t target) tagObject() plumbing.Hash {
	if t.tag == "" || t.want == t.commit {
		return plumbing.ZeroHash
	}
	return t.want
}

func (t target) name() string {
	if t.label == "" {
		return "sha1:" + t.commit.String()
	}
	return t.label + "@sha1:" + t.commit.String()
}

// resolve picks the reference that spec asks for out of those that the remote advertises. Advertised names are compared
// with what the user wrote, never used for anything else.
func resolve(spec Spec, refs *packp.AdvRefs) (target, error) {
	switch {
	case spec.Name != "":
		if spec.Name == "HEAD" && refs.Head != nil {
			return target{label: "HEAD", want: *refs.Head, commit: *refs.Head}, nil
		}
		return lookup(refs, spec.Name, spec.Name)
	case spec.SemVer != "":
		return highest(refs, spec.SemVer)
	case spec.Tag != "":
		return lookup(refs, "refs/tags/"+spec.Tag, spec.Tag)
	}
	branch := branchOf(spec)
	return lookup(refs, "refs/heads/"+branch, branch)
}

func branchOf(spec Spec) string {
	return cmp.Or(strings.TrimPrefix(spec.Branch, "refs/heads/"), "master")
}

func lookup(refs *packp.AdvRefs, full, label string) (target, error) {
	want, ok := refs.References[full]
	if !ok {
		return target{}, unknownRef(refs, full)
	}
	t := target{label: label, want: want, commit: want}
	t.tag, _ = strings.CutPrefix(full, "refs/tags/")
	if t.tag == full {
		t.tag = ""
	}
	if peeled, ok := refs.Peeled[full]; ok {
		t.commit = peeled
	}
	return t, nil
}

// highest picks the greatest version among the tags that satisfy the constraint; of two tags for one version, the one
// that sorts last, so that the choice does not depend on the order of a map.
func highest(refs *packp.AdvRefs, constraint string) (target, error) {
	allowed, err := semver.NewConstraint(constraint)
	if err != nil {
		return target{}, gitFault("SLU-GIT-005", fmt.Sprintf("%q is no version constraint", constraint), "", "write spec.ref.semver like \">=1.0.0 <2.0.0\"", nil)
	}
	var best *semver.Version
	name, versions := "", 0
	for full := range refs.References {
		tag, ok := strings.CutPrefix(full, "refs/tags/")
		if !ok {
			continue
		}
		v, err := semver.NewVersion(tag)
		if err != nil {
			continue
		}
		versions++
		if !allowed.Check(v) {
			continue
		}
		if best == nil || v.GreaterThan(best) || v.Equal(best) && tag > name {
			best, name = v, tag
		}
	}
	if best == nil {
		return target{}, gitFault("SLU-GIT-005", fmt.Sprintf("no tag satisfies %q", constraint), fmt.Sprintf("the remote has %d version tags", versions),
			"push a tag in that range, or widen spec.ref.semver", nil)
	}
	return lookup(refs, "refs/tags/"+name, name)
}

// unknownRef names what the remote has instead.
func unknownRef(refs *packp.AdvRefs, full string) error {
	kind, short, prefix := "reference", full, "refs/"
	for _, k := range []struct{ kind, prefix string }{{"branch", "refs/heads/"}, {"tag", "refs/tags/"}} {
		if name, ok := strings.CutPrefix(full, k.prefix); ok {
			kind, short, prefix = k.kind, name, k.prefix
		}
	}
	var names []string
	for name := range refs.References {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			names = append(names, rest)
		}
	}
	why := "the remote has no " + map[string]string{"branch": "branches", "tag": "tags", "reference": "references"}[kind]
	if near := nearest(short, names, 3); len(near) > 0 {
		for i, name := range near {
			if prefix == "refs/" {
				name = prefix + name
			}
			near[i] = quoted(name)
		}
		why = "the remote has " + strings.Join(near, ", ")
		if more := len(names) - len(near); more > 0 {
			why += fmt.Sprintf(" and %d more", more)
		}
	}
	fix := fmt.Sprintf("push it, or correct spec.ref.%s", map[string]string{"branch": "branch", "tag": "tag", "reference": "name"}[kind])
	if main := defaultBranch(refs); kind == "branch" && main != "" {
		fix = "set spec.ref.branch: " + quoted(main)
	}
	return gitFault("SLU-GIT-005", fmt.Sprintf("%s %q does not exist", kind, quoted(short)), why, fix, nil)
}

// defaultBranch is where the remote's HEAD points, if that exists.
func defaultBranch(refs *packp.AdvRefs) string {
	for _, link := range refs.Capabilities.Get(capability.SymRef) {
		if to, ok := strings.CutPrefix(link, "HEAD:refs/heads/"); ok {
			if _, exists := refs.References["refs/heads/"+to]; exists {
				return to
			}
		}
	}
	return ""
}

// nearest returns the up to n names closest to name, by edit distance.
func nearest(name string, names []string, n int) []string {
	slices.Sort(names)
	if len(names) > 1000 {
		names = names[:1000] // a suggestion is not worth more
	}
	distances := make(map[string]int, len(names))
	for _, other := range names {
		distances[other] = distance(name, other)
	}
	sorted := slices.Clone(names)
	slices.SortStableFunc(sorted, func(a, b string) int { return cmp.Compare(distances[a], distances[b]) })
	return sorted[:min(n, len(sorted))]
}

// distance is Levenshtein's, over bytes, of the first 64.
func distance(a, b string) int {
	a, b = a[:min(len(a), 64)], b[:min(len(b), 64)]
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := corner
			if a[i] != b[j] {
				cost++
			}
			corner = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// tipsFor lists what to fetch with its history when a commit can't be had alone: the branch, or everything.
func tipsFor(spec Spec, refs *packp.AdvRefs) ([]plumbing.Hash, error) {
	if spec.Branch != "" {
		t, err := lookup(refs, "refs/heads/"+branchOf(spec), branchOf(spec))
		return []plumbing.Hash{t.want}, err
	}
	var tips []plumbing.Hash
	for name, hash := range refs.References {
		if strings.HasPrefix(name, "refs/heads/") || strings.HasPrefix(name, "refs/tags/") {
			tips = append(tips, hash)
		}
	}
	if len(tips) == 0 {
		return nil, gitFault("SLU-GIT-012", "the repository has no commits", "it has neither branches nor tags", "push a first commit", nil)
	}
	slices.SortFunc(tips, func(a, b plumbing.Hash) int { return cmp.Compare(a.String(), b.String()) })
	return slices.Compact(tips), nil
}

// isTip reports whether a reference points right at commit, so that any remote serves it.
func isTip(refs *packp.AdvRefs, commit plumbing.Hash) bool {
	for _, h := range refs.References {
		if h == commit {
			return true
		}
	}
	return false
}
