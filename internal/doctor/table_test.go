package doctor

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/testkit"
)

var _ = flag.Bool("update", false, "rewrite the golden files")

// Each breakage is made in a chain that is green, named by exactly one hop with its cause and its exit code, and mended:
// by the remedy in its structured form, or by a person where there is none. Then all is green again.
func TestDoctorNamesTheBrokenHopAndItsFixMendsIt(t *testing.T) {
	w := newWorld(t)
	var rows strings.Builder
	for _, b := range breakages {
		t.Run(b.name, func(t *testing.T) {
			w.t = t
			w.rbac, w.cloud = b.rbac, b.in()
			w.heal()
			b.of(w)
			o := w.options()
			if b.alone != nil {
				b.alone(&o)
			}
			r := w.examine(o)
			h := w.named(r, b.hop)
			b.check(t, r, h)
			fmt.Fprintf(&rows, "| %s | %s | %s | %s | %d |\n", b.name, h.Name, w.cell(h.Seen+"; "+h.Fault.Why), w.code(h.Fault.Fix), fault.ExitCode(h.Fault))
			r = w.fix(b, o, h)
			if left := r.Broken(); left != nil {
				t.Fatalf("after the fix %s is broken:\n%s", left.Name, r.text())
			}
		})
	}
	w.t = t
	if !t.Failed() && len(breakages) < 30 {
		t.Error("fewer than 30 breakages")
	}
	if !t.Failed() {
		testkit.Golden(t, filepath.Join("..", "..", "docs", "doctor.md"), []byte(preface+rows.String()))
	}
}

// named demands that hop, and no other, is broken: what comes before holds or cannot be seen, what comes after is not
// reachable.
func (w *world) named(r *Report, hop string) *Hop {
	w.t.Helper()
	h := r.Broken()
	if h == nil || h.Name != hop || h.Fault == nil {
		w.t.Fatalf("want %s broken:\n%s", hop, r.text())
	}
	after := false
	for _, other := range r.Hops {
		switch {
		case other.Name == hop:
			after = true
		case after && other.State != Unreachable, !after && (other.State == Broken || other.State == Unreachable):
			w.t.Errorf("%s is %s, and %s is broken", other.Name, other.State, hop)
		}
	}
	return h
}

func (b breakage) check(t *testing.T, r *Report, h *Hop) {
	t.Helper()
	if text := h.Seen + "; " + h.Fault.Why; !strings.Contains(text, b.says) {
		t.Errorf("says %q, which lacks %q", text, b.says)
	}
	if h.Fault.Fix == "" || !strings.Contains(h.Fault.Fix, b.fix) {
		t.Errorf("fix %q lacks %q", h.Fault.Fix, b.fix)
	}
	if h.Expected == "" || h.Checked == "" {
		t.Errorf("hop %+v does not say what was expected", h)
	}
	if got := fault.ExitCode(h.Fault); got != b.exit {
		t.Errorf("exit code %d, want %d", got, b.exit)
	}
	if got := h.Remedy != nil && h.Remedy.Safe; got != b.safe {
		t.Errorf("--fix mends it: %v, want %v", got, b.safe)
	}
	if h.Remedy != nil && h.Remedy.Commands[0] != h.Fault.Fix {
		t.Errorf("the remedy's command is %q, the fault's %q", h.Remedy.Commands[0], h.Fault.Fix)
	}
	if h.Remedy.Applicable() == (b.undo != nil) && b.undo == nil {
		t.Errorf("there is no structured form of %q", h.Fault.Fix)
	}
}

// fix does what --fix does: it mends what is safe, and demands that it left alone what is not. That is then done by hand,
// in its structured form if it has one.
func (w *world) fix(b breakage, o Options, h *Hop) *Report {
	w.t.Helper()
	var told, left []string
	waits := 0
	mend := func() *Report {
		r, err := Mend(w.t.Context(), o, Treatment{
			Show: func(*Report) {},
			Tell: func(_ *Report, h *Hop) { told = append(told, h.Name) },
			Left: func(_ *Report, h *Hop) { left = append(left, h.Name) },
			Wait: func(context.Context) error {
				if waits++; waits > 20 {
					return &unexpected{h.Name, Broken}
				}
				w.settle()
				return nil
			},
		})
		w.must(err)
		return r
	}
	byHand := func(h *Hop, undo func(*world)) {
		if undo != nil {
			undo(w)
			return
		}
		w.must(Apply(w.t.Context(), w.options(), h.Remedy))
		w.settle()
	}
	r := mend()
	if b.safe != (len(told) > 0 && told[0] == b.hop) || !b.safe && len(told) > 0 {
		w.t.Fatalf("--fix mended %q and left %q; %s is safe to mend: %v", told, left, b.hop, b.safe)
	}
	if !b.safe {
		if len(left) != 1 || left[0] != b.hop {
			w.t.Fatalf("--fix left %q, want %s", left, b.hop)
		}
		byHand(h, b.undo)
		r = w.examine(o)
	}
	if b.then == "" {
		return r
	}
	if again := r.Broken(); again != nil {
		byHand(w.named(r, b.then), nil)
		return w.examine(o)
	}
	if !slices.Contains(told, b.then) {
		w.t.Errorf("--fix mended %q, want %s among it", told, b.then)
	}
	return r
}

var (
	guidText = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	urlText  = regexp.MustCompile(`http://127\.0\.0\.1:\d+`)
	timeText = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
	cutText  = regexp.MustCompile(`[0-9a-f-]{1,36}…`)
	hashText = regexp.MustCompile(`\b[0-9a-f]{32,40}\b`)
)

// generic hides what differs from run to run.
func (w *world) generic(s string) string {
	for _, p := range [][2]string{
		{other, "99999999"}, {w.id.ClientID, "<client-id>"}, {w.id.PrincipalID, "<principal-id>"}, {w.id.TenantID, "<tenant-id>"},
		{w.key.Version, "<version>"}, {w.ns, "flux-system"}, {w.azure.Env().SubscriptionID, "<subscription>"},
	} {
		s = strings.ReplaceAll(s, p[0], p[1])
	}
	s = guidText.ReplaceAllString(s, "<guid>")
	s = cutText.ReplaceAllString(s, "<cut>…")
	s = urlText.ReplaceAllString(s, "https://git.example.com")
	s = timeText.ReplaceAllString(s, "<time>")
	return hashText.ReplaceAllString(s, "<hash>")
}

func (w *world) cell(s string) string {
	s = strings.Trim(strings.Join(strings.Fields(w.generic(s)), " "), "; ")
	return strings.NewReplacer("|", `\|`, "<", "&lt;").Replace(s)
}

func (w *world) code(s string) string {
	return "`" + strings.ReplaceAll(strings.ReplaceAll(strings.Join(strings.Fields(w.generic(s)), " "), "`", "'"), "|", `\|`) + "`"
}

const preface = `# Doctor

` + "`sluice doctor ks NAME`" + ` walks the chain from the encrypted files of a Kustomization to the key that opens them, in the order in which
the data goes, and names the first hop that is broken, with what was seen, what was expected, the cause and the command
that mends it. Later hops are marked as not reachable. ` + "`-o json`" + ` gives the same.

In Azure Government and Azure China it asks the Entra ID, Resource Manager and vaults of that cloud, which it knows by the
files' vaults or else by AZURE_AUTHORITY_HOST, and prints az commands with the cloud that they are for.

The hops: source, path, sops files, decryption, deployment, service account, managed identity, pod, token, issuer,
federated credential, exchange, vault, access, key, unwrap, document.

| state | mark | |
|---|---|---|
| ok | ✓ | it holds |
| broken | ✗ | the first that does not; the exit code is its own |
| unreachable | – | a hop before it is broken |
| unseen | ? | it could not be looked at; the line says what is needed |
| skipped | · | this chain does not lead over it: files sealed for age keys alone need no Azure |

## What it needs

| to look at | rights |
|---|---|
| the Kustomization | get on kustomizations; without a name list, to find those that decrypt |
| its source | get on gitrepositories, or on ocirepositories, buckets or externalartifacts |
| a private Git remote | get on secrets, in the source's namespace |
| the controller | get on deployments and list on pods, in its namespace |
| the ServiceAccount that decrypts | get on serviceaccounts |
| token, exchange, vault, access, key, unwrap, document | create on serviceaccounts/token: one token of ten minutes, exchanged as the controller does it |
| files sealed for age or PGP keys | get on secrets, for the one that spec.decryption names |
| managed identity, federated credential, issuer switches, causes in the vault's own settings | Reader on the subscription (az login, or the environment that sluice env prints) |
| files of an OCIRepository, Bucket or ExternalArtifact, and of a GitRepository that Flux's source-controller reconciles | the way to the artifact: inside of the cluster, or SOURCE_CONTROLLER_LOCALHOST and a port-forward |

Whoever has fewer sees less: Entra ID's and Key Vault's own answers still name the hop. Inside of the cluster it takes the
pod's own token from its file. It never prints a token, a key or a decrypted value, and writes nothing but what Git holds,
encrypted, into a temporary folder.

` + "`--fix`" + ` mends, after showing it, what gives nobody more than the chain was made to give: labels and annotations, a restart,
and federated credentials of this very ServiceAccount. A credential that may be another workload's is never changed; a
new one is made beside it. Access, keys, vaults and files are left to the person who runs it. What lies in Git must be
changed there too, or the next reconcile takes the change back: the line "keep" says where.

What it cannot see: rules of a network between the cluster and Azure, when it runs on a workstation; what a process on a
simulated node was given. The sovereign clouds were played by the emulated public one under their names.

## Breakages

Each of these was made in a chain that is whole, in the emulated Azure and a real API server, and told as below; then the
fix was carried out, and everything was whole again. None of it was run on live Azure. Where the cause is an answer that
the emulator does not give (marked "Refused by the test"), it was put in Azure's place. The last rows break two hops at
once: the first is named, and once it is mended, the second.

| breakage | hop | what doctor says: seen; why | fix | exit |
|---|---|---|---|---|
`
