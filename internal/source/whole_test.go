package source

import "testing"

func TestWholeShowsWhatAnArtifactLeavesOut(t *testing.T) {
	whole := MapTree(map[string]string{".sops.yaml": "rules", "apps/a.yaml": "a", ".sourceignore": "/*\n!/apps\n"})
	sparse, err := Sparse(whole, []string{"apps"})
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := new(Ignores).View(sparse, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []Tree{whole, sparse, ignored, Artifact(whole), Artifact(ignored)} {
		if data, _, err := Whole(shown).ReadFile(".sops.yaml"); err != nil || string(data) != "rules" {
			t.Errorf("%T: %q, %v", shown, data, err)
		}
	}
	if _, _, err := Artifact(ignored).ReadFile(".sops.yaml"); err == nil {
		t.Error("the artifact holds .sops.yaml, so there is nothing to test")
	}
}
