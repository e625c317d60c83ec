package identity

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

func TestWhoObservesLearnsWhichTokensCostAnExchange(t *testing.T) {
	e := &entra{}
	w, _ := newWorkload(t, e, nil)
	var seen []string
	w.Observe(func(_ context.Context, cached bool, err error) {
		seen = append(seen, fmt.Sprintf("%v/%v", cached, err != nil))
	})
	get := func() { _, _ = w.GetToken(t.Context(), vaultScope) }
	get()
	get()
	if w.Tokens() != 1 {
		t.Errorf("%d tokens are kept, want 1", w.Tokens())
	}
	w.Renew()
	if w.Tokens() != 0 {
		t.Errorf("after Renew %d tokens are kept", w.Tokens())
	}
	e.code = 700213
	get() // refused by Entra ID
	get() // refused from memory
	if got, want := strings.Join(seen, " "), "false/false true/false false/true true/true"; got != want {
		t.Errorf("cached/failed: %s, want %s", got, want)
	}
}
