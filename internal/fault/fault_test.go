package fault

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

func sample() *Fault {
	return &Fault{
		Code: "SLU-ENTRA-003", Hop: HopEntra, Object: "Kustomization/flux-system/apps", File: "apps/secret.yaml",
		Seen: "AADSTS700213", Why: "no federated credential has this subject", Fix: "az identity federated-credential update …",
		Err: context.DeadlineExceeded,
	}
}

func TestErrorIsOneLineWithTheFixLast(t *testing.T) {
	want := "entra: Kustomization/flux-system/apps: apps/secret.yaml: AADSTS700213: no federated credential has this subject; fix: az identity federated-credential update …"
	if got := sample().Error(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestMultilineLabelsEveryPart(t *testing.T) {
	want := `Kustomization/flux-system/apps apps/secret.yaml: AADSTS700213
  hop  entra (SLU-ENTRA-003)
  why  no federated credential has this subject
  fix  az identity federated-credential update …`
	if got := sample().Multiline(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestFromFindsAWrappedFault(t *testing.T) {
	f := sample()
	if got := From(fmt.Errorf("build: %w", f)); got != f {
		t.Errorf("From = %v", got)
	}
	if got := From(errors.New("plain")); got != nil {
		t.Errorf("From(plain) = %v, want nil", got)
	}
	if !errors.Is(f, context.DeadlineExceeded) {
		t.Error("the wrapped error is lost")
	}
}

func TestExitCodePrefersTheFaultThenTheHopThenTheContext(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, ExitOK},
		{&Fault{Hop: HopGit, Exit: 9}, 9},
		{&Fault{Hop: HopVault}, ExitKey},
		{fmt.Errorf("x: %w", &Fault{Hop: HopEntra}), ExitSignIn},
		{context.DeadlineExceeded, ExitTimeout},
		{context.Canceled, ExitInterrupted},
		{errors.New("x"), ExitUsage},
	} {
		if got := ExitCode(tt.err); got != tt.want {
			t.Errorf("ExitCode(%v) = %d, want %d", tt.err, got, tt.want)
		}
	}
}
