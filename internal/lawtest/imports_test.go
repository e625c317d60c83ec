package lawtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// ban forbids imports. A path stands for itself and what is below it; paths of this module are written short.
type ban struct {
	from   []string // packages that the rule binds; nil: all
	except []string // packages that are free of it
	to     []string // what they may not import
	deep   bool     // nor reach through others
	tests  bool     // the rule binds tests too
	reason string
}

// What talks to a Kubernetes API server.
var kubernetesClients = []string{
	"k8s.io/client-go/kubernetes", "k8s.io/client-go/dynamic", "k8s.io/client-go/rest", "k8s.io/client-go/discovery",
	"sigs.k8s.io/controller-runtime/pkg/client", "sigs.k8s.io/controller-runtime/pkg/cache",
}

var bans = []ban{
	{
		to: []string{"k8s.io/kubernetes", "go.etcd.io/etcd/server", "sigs.k8s.io/kwok"}, deep: true, tests: true,
		reason: "the control plane is the nested module cluster/: its dependencies must not decide ours",
	},
	{
		to: []string{"cluster", "bench"}, tests: true,
		reason: "nested modules are built on this one, or beside it, never under it",
	},
	{
		from: []string{"internal/plan", "internal/health", "internal/inventory"}, to: kubernetesClients, deep: true,
		reason: "planning and judging are pure: no client, so that they can be tested as tables",
	},
	{
		from: []string{"internal/azure"}, to: []string{"internal/emulator"}, deep: true,
		reason: "the client must not know whether it speaks to Azure or to the emulator",
	},
	{
		from: []string{"internal/emulator"}, to: []string{"internal/azure"}, deep: true,
		reason: "the emulator is judged by Azure's protocol, not by our client's idea of it",
	},
	{
		from: []string{"internal/emulator"}, to: []string{"github.com/Azure", "github.com/AzureAD"}, deep: true,
		reason: "a type shared with the SDK would hide a difference on the wire",
	},
	{
		except: []string{"internal/local", "internal/emulator", "internal/testkit"}, to: []string{"internal/emulator"},
		reason: "only local and tests see the emulator: the same code runs locally and on Azure",
	},
	{
		from: []string{"internal/sops"}, to: []string{"internal/keyring", "internal/azure", "github.com/Azure"},
		reason: "sops knows no cloud: it asks the Keyring interface that it declares",
	},
	{
		to: []string{"github.com/getsops/sops"}, deep: true,
		reason: "the sops library judges our documents in tests; linked, it brings every cloud's SDK and a database driver",
	},
	{
		from: []string{"internal/secrets/rules"}, to: []string{"internal/keyring", "internal/azure", "net/http", "os/exec"},
		reason: "rules are read and compared: no key, no cloud, no process",
	},
	{
		from: []string{"internal/secrets/check"}, to: []string{"internal/keyring", "internal/secrets/files", "internal/secrets/scratch", "net/http"},
		reason: "check judges what it is handed: keys and vaults are functions of its caller, and it writes nothing",
	},
	{
		from: []string{"internal/secrets/files", "internal/secrets/scratch"}, to: []string{"internal/keyring", "internal/sops", "internal/azure", "net/http"},
		reason: "they move bytes and know no document: what is plain and what is sealed is the verbs' business",
	},
	{
		from: []string{"internal/secrets/keys"}, to: []string{"internal/keyring", "internal/sops", "net/http", "os/exec"},
		reason: "it keeps public keys: no private half, no document, and its vault is an interface",
	},
	{
		from: []string{"internal/kms"}, to: []string{"internal/keyring", "internal/sops", "internal/azure", "os/exec"},
		reason: "a key service unwraps what it is handed, for the credentials it is handed",
	},
	{
		except: []string{"internal/cli", "internal/secrets/files", "internal/secrets/scratch"}, to: []string{"internal/secrets/files", "internal/secrets/scratch"},
		reason: "plaintext and sealed files meet a disk only where a person called a command",
	},
	{
		except: []string{"internal/keyring", "internal/reconcile", "internal/kms"}, to: []string{"internal/kms"},
		reason: "keys are asked for through the keyring; reconcile hands it credentials",
	},
	{
		from: []string{"internal/bootstrap", "internal/crds", "examples"}, to: append([]string{"os/exec", "net/http"}, kubernetesClients...),
		reason: "they write manifests; committing and installing them is their callers' work",
	},
	{
		except: []string{"internal/cli", "internal/local"}, to: []string{"internal/provision"},
		reason: "a command makes Azure resources; nothing that runs in a cluster does",
	},
	{
		from: []string{"internal/provision"}, to: append([]string{"internal/local", "net/http", "os", "os/exec"}, kubernetesClients...),
		reason: "it speaks to Azure by internal/azure/arm alone, and to nobody at the keyboard",
	},
	{
		except: []string{"internal/reconcile", "internal/cli", "internal/local"}, to: []string{"internal/reconcile"},
		reason: "reconcile stands above the stages and below the commands",
	},
	{
		except: []string{"internal/local", "internal/cli", "internal/testkit"}, to: []string{"internal/local"},
		reason: "no stage knows that it runs locally",
	},
	{
		except: []string{"cmd", "internal/release/dist"}, to: []string{"internal/cli"},
		reason: "commands are the outermost ring; what is published is made around them",
	},
	{
		except: []string{"internal/release"}, to: []string{"internal/release", "github.com/google/go-containerregistry", "golang.org/x/crypto/x509roots"},
		reason: "making releases is no part of the product",
	},
	{
		except: []string{"internal/testkit"}, to: []string{"internal/testkit", "testing", "sigs.k8s.io/controller-runtime/pkg/envtest"},
		reason: "test support stays out of the binary",
	},
}

// stages lists what each stage may use of this module: earlier stages' data types, and what everybody may. Only
// reconcile joins them.
var stages = map[string][]string{
	"internal/source":    {},
	"internal/render":    {"internal/source"},
	"internal/sops":      {},
	"internal/inventory": {},
	"internal/health":    {"internal/inventory"},
	"internal/plan":      {"internal/inventory"},
	"internal/apply":     {"internal/plan", "internal/inventory", "internal/health"}, // a CRD must be established before its objects
	"internal/live":      {"internal/plan", "internal/inventory", "internal/health"},
}

// everybody may use these: they do no stage's work.
var everybody = []string{"internal/fault", "internal/redact", "internal/lazyregexp"}

func under(path string, tops []string) bool {
	return slices.ContainsFunc(tops, func(top string) bool { return path == top || strings.HasPrefix(path, top+"/") })
}

// violations applies the bans and the stages' lists to a set of packages.
func violations(all []pkg, bans []ban, stages map[string][]string) []string {
	var found []string
	for _, p := range all {
		for _, b := range bans {
			if (b.from != nil && !under(p.short(), b.from)) || under(p.short(), b.except) {
				continue
			}
			reach := p.Imports
			if b.deep {
				reach = p.Deps
			}
			if b.tests {
				reach = slices.Concat(reach, p.TestImports, p.XTestImports)
			}
			for _, dep := range reach {
				if under(shorten(dep), b.to) && !sameTree(p.short(), shorten(dep), b) {
					found = append(found, fmt.Sprintf("%s imports %s: %s", p.short(), shorten(dep), b.reason))
				}
			}
		}
		for stage, allowed := range stages {
			if !under(p.short(), []string{stage}) {
				continue
			}
			for _, dep := range p.Imports {
				ours := strings.HasPrefix(dep, module+"/")
				if d := shorten(dep); ours && !under(d, []string{stage}) && !under(d, allowed) && !under(d, everybody) {
					found = append(found, fmt.Sprintf("%s imports %s: only reconcile joins the stages; a stage may use %v", p.short(), d, allowed))
				}
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// sameTree lets a tree of packages use itself under a rule that keeps all others out of it.
func sameTree(from, to string, b ban) bool {
	return slices.ContainsFunc(b.to, func(top string) bool {
		return under(from, []string{top}) && under(to, []string{top})
	})
}

func TestPackagesKeepTheImportLaw(t *testing.T) {
	for _, v := range violations(packages(t), bans, stages) {
		t.Error(v)
	}
}

func TestTheImportLawFindsAViolation(t *testing.T) {
	in := func(name string, imports ...string) pkg {
		p := pkg{ImportPath: module + "/" + name}
		for _, i := range imports {
			if strings.HasPrefix(i, "internal/") || i == "cluster" {
				i = module + "/" + i
			}
			p.Imports = append(p.Imports, i)
		}
		p.Deps = p.Imports
		return p
	}
	for name, tt := range map[string]struct {
		p    pkg
		want int
	}{
		"a stage that does an earlier stage's work": {in("internal/apply", "internal/render"), 1},
		"a stage and the data before it":            {in("internal/apply", "internal/plan", "internal/fault", "internal/inventory"), 0},
		"a plan with a client":                      {in("internal/plan", "k8s.io/client-go/kubernetes/typed/core/v1"), 1},
		"an emulator with the SDK":                  {in("internal/emulator/keyvault", "github.com/Azure/azure-sdk-for-go/sdk/azcore"), 1},
		"an emulator's part and another":            {in("internal/emulator/keyvault", "internal/emulator/store"), 0},
		"azure and the emulator":                    {in("internal/azure/identity", "internal/emulator/entra"), 2},
		"the control plane in the main module":      {in("internal/local", "k8s.io/kubernetes/cmd/kube-apiserver/app"), 1},
		"local and both sides":                      {in("internal/local/up", "internal/emulator", "internal/azure/arm", "internal/reconcile"), 0},
		"a name that only begins like a banned one": {in("internal/sops", "internal/keyrings"), 1}, // by the stage's list alone
	} {
		if got := violations([]pkg{tt.p}, bans, stages); len(got) != tt.want {
			t.Errorf("%s: %d violations, want %d: %q", name, len(got), tt.want, got)
		}
	}
}

func TestTestsOfAPackageKeepTheControlPlaneOut(t *testing.T) {
	p := pkg{ImportPath: module + "/internal/x", XTestImports: []string{"go.etcd.io/etcd/server/v3/embed"}}
	if got := violations([]pkg{p}, bans, stages); len(got) != 1 {
		t.Errorf("violations %q, want one", got)
	}
}
