package source

import "strings"

// Flux leaves these out of an artifact, whatever the folder they are in; see "Excluding files" in the GitRepository
// specification. A pattern with a slash at its end is for directories.
var excluded = append([]string{
	"*.jpg", "*.jpeg", "*.gif", "*.png", "*.wmv", "*.flv", "*.tar.gz", "*.zip",
	".github/", ".circleci/", ".travis.yml", ".gitlab-ci.yml", "appveyor.yml", ".drone.yml", "cloudbuild.yaml",
	"codeship-services.yml", "codeship-steps.yml",
	".goreleaser.yml", ".sops.yaml", ".flux.yaml",
}, excludedVCS...)

// excludedVCS are those that a repository with rules of its own keeps.
var excludedVCS = []string{".git/", ".gitignore", ".gitmodules", ".gitattributes"}

// exclusions are the patterns by what they compare, because every name of every directory that is read is asked about.
var exclusions = func() (e struct{ anything, directories, endings map[string]bool }) {
	e.anything, e.directories, e.endings = map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, pattern := range excluded {
		if ending, ok := strings.CutPrefix(pattern, "*"); ok {
			e.endings[ending] = true
		} else if name, ok := strings.CutSuffix(pattern, "/"); ok {
			e.directories[name] = true
		} else {
			e.anything[pattern] = true
		}
	}
	return e
}()

// Excluded reports whether Flux leaves an entry of this name out of its artifacts, and with a directory everything
// below it.
func Excluded(name string, dir bool) bool {
	if exclusions.anything[name] || dir && exclusions.directories[name] {
		return true
	}
	for i := len(name) - 1; i >= 0; i-- { // an ending may hold two dots
		if name[i] == '.' && exclusions.endings[name[i:]] {
			return true
		}
	}
	return false
}

// Artifact shows a tree as Flux's consumers see it: without what Flux excludes by default. Directory hashes stay those
// of the whole directory, so an excluded file that changes still changes them. A tree that is shown so already, by this
// or by Ignores.View, is returned as it is: its own rules may have brought something back. So is one that comes out of
// an archive, from which Flux's consumers leave nothing out.
func Artifact(t Tree) Tree {
	switch t.(type) {
	case artifactTree, *ignoreTree, archiveTree:
		return t
	}
	return artifactTree{t}
}

type artifactTree struct{ tree Tree }

func visible(p string) bool {
	parts, ok := split(p)
	if !ok {
		return false
	}
	for i, name := range parts {
		// The last name may be of either kind; the rules for directories name nothing that is ever a file.
		if Excluded(name, true) || i == len(parts)-1 && Excluded(name, false) {
			return false
		}
	}
	return true
}

// ReadFile implements Tree.
func (t artifactTree) ReadFile(p string) ([]byte, string, error) {
	if !visible(p) {
		return nil, "", notExist(p)
	}
	return t.tree.ReadFile(p)
}

// ReadDir implements Tree.
func (t artifactTree) ReadDir(p string) ([]Entry, string, error) {
	if !visible(p) {
		return nil, "", notExist(p)
	}
	all, hash, err := t.tree.ReadDir(p)
	entries := make([]Entry, 0, len(all))
	for _, e := range all {
		if !Excluded(e.Name, e.Dir) {
			entries = append(entries, e)
		}
	}
	return entries, hash, err
}

// Stat returns the entry at path.
func (t artifactTree) Stat(p string) (Entry, error) {
	if !visible(p) {
		return Entry{}, notExist(p)
	}
	return Stat(t.tree, p)
}
