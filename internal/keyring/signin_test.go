package keyring

import (
	"context"
	"maps"
	"sync"
	"testing"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/kms/aws"
	"github.com/sluice-gitops/sluice/internal/kms/gcp"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// Each federated identity signs in once, however many documents wait for it.
func TestAServiceAccountTokenIsExchangedOnceAndOpens(t *testing.T) {
	const role = "arn:aws:iam::123456789012:role/tenant"
	const provider = "projects/1/locations/global/workloadIdentityPools/pool/providers/aks"
	const email = "sops@p.iam.gserviceaccount.com"
	s := newServices(t)
	s.allow("mine", "*")
	s.allow("jwt", role+" //iam.googleapis.com/"+provider)
	s.allow("ASIAtenant", awsARN)
	s.allow("federated jwt", googleKMS+" "+email)
	s.allow("as "+email, googleKMS)
	token := func(context.Context) (string, error) { return "jwt", nil }
	webIdentity := func(token func(context.Context) (string, error)) Identity {
		creds, err := aws.WebIdentity(role, "tenant.apps.sluice", token)
		must(t, err)
		return Identity{Clouds: Clouds{AWS: creds}}
	}
	federated := func(email string, token func(context.Context) (string, error)) Identity {
		src, err := gcp.Federated{Provider: provider, Email: email, Token: token}.Source(gcp.Endpoints{STS: s.URL + "/v1/token", IAMCredentials: s.URL})
		must(t, err)
		return Identity{Clouds: Clouds{Google: src}}
	}
	for _, tt := range []struct {
		name, service string
		id            func(func(context.Context) (string, error)) Identity
		signIn        map[string]int
		decrypt       string
		refused       string
	}{
		{"AWS role", "aws", webIdentity, map[string]int{"sts/AssumeRoleWithWebIdentity": 1}, "aws/Decrypt", "SLU-IDENTITY-032"},
		{"Google pool", "google", func(f func(context.Context) (string, error)) Identity { return federated("", f) }, map[string]int{"google/token": 1}, "google/decrypt", "SLU-IDENTITY-042"},
		{"Google service account", "google", func(f func(context.Context) (string, error)) Identity { return federated(email, f) },
			map[string]int{"google/token": 1, "google/impersonate": 1}, "google/decrypt", "SLU-IDENTITY-042"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := s.ring(Options{})
			var docs [][]byte
			for range 20 {
				docs = append(docs, seal(t, Wrapper{Online: r.Online(s.identity(t, "sealer", "mine"))}, recipient.Group{s.recipients()[tt.service]()}))
			}
			id := tt.id(token)
			id.Name = "tenant"
			want := maps.Clone(tt.signIn)
			want[tt.decrypt] = 20
			if got := s.spent(func() {
				var wg sync.WaitGroup
				for _, doc := range docs {
					wg.Go(func() {
						if err := open(t, r.For(id), doc); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
			}); !maps.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
			// What a reconcile that was asked for does: prove the whole chain.
			id.Renew()
			r.Forget(id.Name)
			want[tt.decrypt] = 1
			if got := s.spent(func() { must(t, open(t, r.For(id), docs[0])) }); !maps.Equal(got, want) {
				t.Errorf("after Renew: %v, want %v", got, want)
			}
			// A token that is not trusted, and one that cannot be had.
			other := tt.id(func(context.Context) (string, error) { return canary, nil })
			other.Name = "other"
			wantFault(t, open(t, r.For(other), docs[0]), tt.refused)
			none := tt.id(func(context.Context) (string, error) {
				return "", &fault.Fault{Code: "SLU-IDENTITY-003", Hop: fault.HopIdentity, Seen: "s", Why: "w", Fix: "f"}
			})
			none.Name = "none"
			if f := fault.From(open(t, r.For(none), docs[0])); f == nil || f.Hop != fault.HopIdentity {
				t.Errorf("fault %+v", f)
			}
		})
	}
	if _, err := aws.WebIdentity("admin", "s", token); err == nil {
		t.Error("a role that is none was taken")
	}
	for _, f := range []gcp.Federated{{Provider: "x"}, {Provider: provider, Email: "x@evil.test/"}, {Provider: provider + "/../x"}} {
		if _, err := f.Source(gcp.Endpoints{}); err == nil {
			t.Errorf("%+v was taken", f)
		}
	}
}
