package store

import "testing"

func TestSecretsCanBeGivenAsArguments(t *testing.T) {
	seen := map[string]bool{}
	for range 500 {
		s := newSecret()
		if len(s) != 44 || s[0] == '-' || seen[s] {
			t.Fatalf("secret %q", s)
		}
		seen[s] = true
	}
}
