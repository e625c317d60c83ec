// Package doctor walks the chain of trust hop by hop, from the SOPS file in Git to the key in the vault and back, and
// names the first hop that is broken, the cause, and the command that mends it.
//
// Looking and judging are apart. The gatherers (gather*.go) ask the cluster, the Git remote, Resource Manager, Entra ID
// and Key Vault, and write down what they saw or why they could not look. The judges (judge*.go) are pure: facts in,
// one Hop out. What a refusal means is not said here but by the packages that the controller uses too (internal/azure,
// internal/sops, internal/keyring), so that both say the same.
//
// It needs no more rights than it says: where one is missing, the hop is Unseen and says which. It changes nothing by
// itself; a Remedy is applied only by Apply, which its caller calls after showing it. It prints and keeps no token, no
// key and no plaintext: of a token only its claims are shown.
package doctor

import (
	"context"

	"github.com/sluice-gitops/sluice/internal/fault"
)

// State is what became of a hop.
type State string

// The states. After the first Broken hop the others are Unreachable: whether they hold cannot be told before it does.
const (
	OK          State = "ok"
	Broken      State = "broken"
	Unreachable State = "unreachable"
	Unseen      State = "unseen"  // could not look; Seen says what is needed
	Skipped     State = "skipped" // this chain does not lead over the hop
)

// Hop is one link of the chain as it was found.
type Hop struct {
	Name     string       `json:"name"`
	Checked  string       `json:"checked"`            // what was looked at
	Seen     string       `json:"seen,omitempty"`     // what was found, or why nothing could be seen
	Expected string       `json:"expected,omitempty"` // what should have been found
	State    State        `json:"state"`
	Fault    *fault.Fault `json:"fault,omitempty"`  // of a Broken hop
	Remedy   *Remedy      `json:"remedy,omitempty"` // of a Broken hop that can be mended from here
}

// Report is the walk of one Kustomization's chain, in the order in which its data goes.
type Report struct {
	Kustomization string `json:"kustomization"` // namespace/name
	Hops          []Hop  `json:"hops"`
}

// Broken returns the hop that is broken, nil if none is.
func (r *Report) Broken() *Hop {
	for i := range r.Hops {
		if r.Hops[i].State == Broken {
			return &r.Hops[i]
		}
	}
	return nil
}

// hop is a link before it is looked at: its judge sees all the facts.
type hop struct {
	name, checked string
	judge         func(*Facts) verdict
}

// verdict is a judge's answer. A fault makes the hop Broken, whatever state says.
type verdict struct {
	state    State
	seen     string
	expected string
	fault    *fault.Fault
	remedy   *Remedy
}

func fine(seen string) verdict    { return verdict{state: OK, seen: seen} }
func skipped(seen string) verdict { return verdict{state: Skipped, seen: seen} }

// unseen says what could not be looked at for want of what.
func unseen(needs string) verdict {
	return verdict{state: Unseen, seen: "could not look: needs " + needs}
}

func broken(f *fault.Fault, expected string, r *Remedy) verdict {
	return verdict{state: Broken, seen: f.Seen, expected: expected, fault: f, remedy: r}
}

// chain is every hop, in the order of the walk.
var chain = []hop{
	{"source", "the Kustomization's source, and its remote or artifact", judgeSource},
	{"path", "spec.path in the revision", judgePath},
	{"sops files", "metadata and recipients of the encrypted files", judgeFiles},
	{"decryption", "spec.decryption of the Kustomization", judgeDecryption},
	{"deployment", "the label azure.workload.identity/use of the controller's pod template", judgeDeployment},
	{"service account", "the azure.workload.identity annotations", judgeAccount},
	{"managed identity", "the identity that the annotations name", judgeIdentity},
	{"pod", "label, environment and token of the running pod", judgePod},
	{"token", "the service-account token's claims", judgeToken},
	{"issuer", "the cluster's OIDC issuer, its discovery document and keys", judgeIssuer},
	{"federated credential", "issuer, subject and audience, byte by byte", judgeFederation},
	{"exchange", "the token exchange at Entra ID", judgeExchange},
	{"vault", "the vault's name, network and tenant", judgeVault},
	{"access", "access policy or role of the identity on the vault", judgeAccess},
	{"key", "the key version that the files are sealed with", judgeKey},
	{"unwrap", "a trial decryption of the data keys", judgeUnwrap},
	{"document", "values and MAC of the files under their data keys", judgeDocument},
}

// Names are the hops in the order of the walk.
func Names() []string {
	names := make([]string, len(chain))
	for i, h := range chain {
		names[i] = h.name
	}
	return names
}

// Diagnose judges facts. Pure.
func Diagnose(f *Facts) *Report {
	r := &Report{Kustomization: f.Object.String()}
	var stopped bool
	for _, h := range chain {
		out := Hop{Name: h.name, Checked: h.checked}
		if stopped {
			out.State, out.Seen = Unreachable, "not reachable: a hop before it is broken"
			r.Hops = append(r.Hops, out)
			continue
		}
		v := f.inCloud(h.judge(f))
		out.State, out.Seen, out.Expected, out.Fault, out.Remedy = v.state, v.seen, v.expected, v.fault, v.remedy
		stopped = v.state == Broken
		r.Hops = append(r.Hops, out)
	}
	return r
}

// inCloud has the commands of a verdict work in the chain's cloud.
func (f *Facts) inCloud(v verdict) verdict {
	if v.fault != nil {
		v.fault.Fix = f.Cloud.Command(v.fault.Fix)
	}
	if v.remedy != nil {
		for i, c := range v.remedy.Commands {
			v.remedy.Commands[i] = f.Cloud.Command(c)
		}
	}
	return v
}

// Examine gathers and diagnoses. Its error is that there is nothing to walk: no cluster, no such Kustomization.
func Examine(ctx context.Context, o Options) (*Report, error) {
	f, err := Gather(ctx, o)
	if err != nil {
		return nil, err
	}
	return Diagnose(f), nil
}
