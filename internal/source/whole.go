package source

// Whole is the tree as it stands in the revision, without what Artifact, Ignores.View and Sparse hide of it. It is for what
// governs a repository and is no part of its artifact, such as .sops.yaml. What another repository was mounted with stays.
func Whole(t Tree) Tree {
	for {
		switch v := t.(type) {
		case artifactTree:
			t = v.tree
		case *ignoreTree:
			t = v.tree
		case *sparseTree:
			t = v.tree
		default:
			return t
		}
	}
}
