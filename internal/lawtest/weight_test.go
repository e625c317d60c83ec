package lawtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// docs/decisions/0005-weight-of-the-program.md has what these rules are worth.

// noPlugins is kustomize's build tag that leaves package plugin out.
const noPlugins = "kustomize_disable_go_plugin_support"

// unlinked is what the program must not depend on. Paths stand for what is below them too.
var unlinked = []struct {
	to     []string
	reason string
}{
	{[]string{"github.com/getsops"}, "it brings the SDKs of five clouds; it judges our documents in tests"},
	{[]string{"plugin"}, "where it is linked, the linker drops no function and no method at all"},
	{[]string{"net/rpc", "html/template"}, "they look methods up by name, so the linker keeps every method of every type"},
	{[]string{"testing", "github.com/google/go-cmp"}, "nothing is tested in the program"},
	{[]string{"k8s.io/kubectl", "k8s.io/cli-runtime/pkg/genericclioptions", "k8s.io/cli-runtime/pkg/printers", "k8s.io/client-go/scale", "github.com/fluxcd/cli-utils/pkg/kstatus/polling"},
		"they are another CLI, with a scheme of its own at every start: github.com/fluxcd/pkg/ssa brings them, its subpackages do not"},
	{[]string{"google.golang.org/grpc", "google.golang.org/api", "github.com/envoyproxy", "github.com/cncf/xds", "github.com/googleapis", "cloud.google.com/go/kms", "cloud.google.com/go/storage"},
		"Google's KMS is one JSON request; gRPC registers over two hundred packages of message types at every start"},
	{[]string{"github.com/hashicorp"}, "Vault's transit is one JSON request"},
	{[]string{"github.com/aws/aws-sdk-go-v2/service/s3"}, "nothing is read from buckets"},
	{[]string{"github.com/lib/pq"}, "there is no database"},
	{[]string{"go.mongodb.org", "github.com/huaweicloud"}, "Huawei's cloud is refused by name"},
	{[]string{"go.opentelemetry.io"}, "nothing is traced or exported: metrics are Prometheus's"},
}

// byName look methods up by names that are known at run time alone.
var byName = []string{"text/template", "html/template", "net/rpc", "plugin"}

const mainPackage = module + "/cmd/sluice"

// imports is the graph of all packages in the program, with the tag that make builds it with.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-tags", noPlugins, "-json=ImportPath,Imports,ImportMap", "./cmd/sluice")
	cmd.Dir, cmd.Stderr = root, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	graph := map[string][]string{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Imports    []string
			ImportMap  map[string]string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for _, i := range p.Imports {
			if mapped, ok := p.ImportMap[i]; ok {
				i = mapped
			}
			graph[p.ImportPath] = append(graph[p.ImportPath], i)
		}
	}
	if len(graph[mainPackage]) == 0 {
		t.Fatal("cmd/sluice imports nothing: these tests look at nothing")
	}
	return graph
}

// reached gives what a package depends on, each with the package that imports it.
func reached(graph map[string][]string, from string) map[string]string {
	found, next := map[string]string{from: ""}, []string{from}
	for len(next) > 0 {
		p := next[0]
		next = next[1:]
		for _, dep := range graph[p] {
			if _, ok := found[dep]; !ok {
				found[dep] = p
				next = append(next, dep)
			}
		}
	}
	return found
}

func TestTheProgramLinksNothingThatItDoesNotNeed(t *testing.T) {
	for dep, by := range reached(imports(t), mainPackage) {
		for _, u := range unlinked {
			if under(dep, u.to) {
				t.Errorf("%s imports %s: %s", by, dep, u.reason)
			}
		}
	}
}

func TestNoPackageOfTheProgramLooksMethodsUpByName(t *testing.T) {
	graph := imports(t)
	for p, deps := range graph {
		for _, dep := range deps {
			if strings.HasPrefix(p, module+"/") && slices.Contains(byName, dep) {
				t.Errorf("%s imports %s: the linker then keeps every exported method of every type", shorten(p), dep)
			}
		}
	}
}

func TestEveryBuildOfTheProgramLeavesPluginsOut(t *testing.T) {
	builds := 0
	for _, line := range strings.Split(read(t, "Makefile"), "\n") {
		if strings.Contains(line, "go build") && strings.HasSuffix(line, "./cmd/sluice") {
			builds++
			if !strings.Contains(line, "-tags "+noPlugins+" ") {
				t.Errorf("Makefile: %q has no -tags %s", strings.TrimSpace(line), noPlugins)
			}
		}
	}
	if builds == 0 {
		t.Error("Makefile builds no ./cmd/sluice")
	}
}

// atStart are functions too slow for a package variable: it costs every command its time.
var atStart = map[string]string{
	"regexp.MustCompile": "internal/lazyregexp compiles when the expression is used",
	"runtime.NewScheme":  "sync.OnceValue makes it when it is used",
	"template.Must":      "parse it where it is used",
}

// quick are packages whose expressions are too short to matter.
var quick = []string{"internal/sops", "internal/keyring"} // four expressions of a few characters: 0.02 ms together

func TestNothingSlowIsMadeAtEveryStart(t *testing.T) {
	graph, seen := imports(t), 0
	for _, p := range packages(t) {
		if _, linked := graph[p.ImportPath]; !linked || under(p.short(), append(quick, "internal/lazyregexp")) {
			continue
		}
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Errorf("%s: %v", p.short(), err)
				continue
			}
			seen++
			for _, call := range made(f) {
				t.Errorf("%s calls %s at every start: %s", path.Join(p.short(), name), call, atStart[call])
			}
		}
	}
	if seen < 100 {
		t.Errorf("only %d files looked at", seen)
	}
}

// made lists the slow calls in a file's package variables, those in functions that are called on the spot among them.
func made(f *ast.File) (calls []string) {
	var visit func(ast.Node) bool
	visit = func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			_, later := n.(*ast.FuncLit)
			return !later
		}
		if now, ok := call.Fun.(*ast.FuncLit); ok {
			ast.Inspect(now.Body, visit)
		}
		if sel, ok := call.Fun.(*ast.SelectorExpr); ok {
			if in, ok := sel.X.(*ast.Ident); ok && atStart[in.Name+"."+sel.Sel.Name] != "" {
				calls = append(calls, in.Name+"."+sel.Sel.Name)
			}
		}
		return true
	}
	for _, d := range f.Decls {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.VAR {
			ast.Inspect(g, visit)
		}
	}
	return calls
}

func TestWhatIsMadeAtEveryStartIsFound(t *testing.T) {
	for src, want := range map[string]int{
		"var a = regexp.MustCompile(`a`)":                                             1,
		"var (\n\tb = []*regexp.Regexp{regexp.MustCompile(`a`)}\n)":                   1,
		"var c = func() *runtime.Scheme { return runtime.NewScheme() }()":             1,
		"var d = template.Must(template.New(``).Parse(``))":                           1,
		"var e = sync.OnceValue(func() any { return regexp.MustCompile(`a`) })":       0,
		"func f() { regexp.MustCompile(`a`) }\nvar g = regexp.Compile":                0,
		"var h = map[string]func(){`a`: func() { regexp.MustCompile(`a`) }}":          0,
		"var i = func() func() { return func() { regexp.MustCompile(`a`) } }()":       0,
		"var j = func() any { return []any{regexp.MustCompile(`a`)} }()\nvar k = 1\n": 1,
	} {
		f, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\n"+src, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := made(f); len(got) != want {
			t.Errorf("%s: found %v, want %d", src, got, want)
		}
	}
}

func TestWhatIsLinkedIsFoundThroughOthers(t *testing.T) {
	got := reached(map[string][]string{"a": {"b"}, "b": {"c"}, "c": {"a"}, "x": {"d"}}, "a")
	if len(got) != 3 || got["c"] != "b" {
		t.Errorf("reached %v", got)
	}
}
