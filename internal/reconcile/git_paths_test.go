package reconcile

import "testing"

func TestPathsOfAnIncludeAreClampedToTheTree(t *testing.T) {
	for in, want := range map[string]string{
		"": ".", ".": ".", "..": ".", "../x": "x", "/etc/passwd": "etc/passwd", "a/../../b": "b", "a/../../../b/..": ".", "./a//b/": "a/b",
	} {
		if got := clamp(in); got != want {
			t.Errorf("clamp(%q) = %q, want %q", in, got, want)
		}
	}
}
