package source

import (
	"slices"
	"testing"
)

func TestHostKeyAlgorithmsAreThoseThatAreWantedAndKnown(t *testing.T) {
	for _, tt := range []struct{ wanted, known, want []string }{
		{nil, []string{"a", "b"}, []string{"a", "b"}},
		{[]string{"b", "c"}, []string{"a", "b", "c"}, []string{"b", "c"}},
		{[]string{"c", "b"}, []string{"b", "c"}, []string{"c", "b"}},
		{[]string{"z"}, []string{"a"}, []string{"z"}}, // the connection fails, and names the algorithm
		{[]string{"z"}, nil, []string{"z"}},
	} {
		if got := preferred(tt.wanted, tt.known); !slices.Equal(got, tt.want) {
			t.Errorf("preferred(%v, %v) = %v, want %v", tt.wanted, tt.known, got, tt.want)
		}
	}
}
