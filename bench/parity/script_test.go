package parity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/sluice-gitops/sluice/bench/lab"
)

// patience bounds a wait, alike bounds how long the two may take to be alike after that.
const (
	patience = 2 * time.Minute
	alike    = 20 * time.Second
)

// play is a fixture that is played to both engines.
type play struct {
	*worlds
	*fixture
	t       *testing.T
	repo    string // the current Git repository's name
	clock   int    // seconds since the first commit
	head    string // last pushed commit of the current repository
	handled map[string]string
	views   int
	failed  bool
}

// commands are the words of a script. KIND is any Kind, or ks or git.
//
//	repo NAME                  go on with another Git repository; the first is repo
//	commit DIR                 make DIR's files the tree, push the branch main
//	run git ARGS               run git in the working copy, then push all branches and tags
//	submodule NAME             commit another repository of the fixture as a submodule, by a relative URL
//	git NAME FLOW              create a GitRepository of the current repository; FLOW is merged into its spec
//	ks NAME FLOW               create a Kustomization of the GitRepository repo; FLOW is merged into its spec
//	spec KIND NAME FLOW        merge FLOW into the spec
//	apply FILE                 create or update FILE's objects, as user
//	create FILE MANAGER        create FILE's objects with the operation Update, as `kubectl apply --server-side=false`
//	patch KIND NAME FLOW       merge FLOW into the object, as user
//	status KIND NAME FLOW      merge FLOW into the status
//	reconcile KIND NAME        ask for a reconcile; waits for NAME then wait for it
//	wait KIND NAME STATUS REASON [any]   Ready, of the present generation; True of the pushed commit too, unless any
//	flux …, sluice …                     wait of that engine alone, where they end differently
//	there KIND NAME, gone KIND NAME      wait for an object
//	delete KIND NAME
//	seal FILE                  encrypt it before anything runs
//	slow                       start this fixture first: it waits for a timeout
//	compare                    compare now; every script ends with it
func (p *play) run() {
	p.handled = map[string]string{}
	ctx := context.Background()
	for _, w := range p.both() {
		must(p.t, w.namespace(ctx, p.ns))
	}
	p.repo = "repo"
	for _, line := range append(p.script, "compare") {
		word, rest, _ := strings.Cut(line, " ")
		if err := p.do(ctx, word, strings.TrimSpace(rest)); err != nil {
			p.t.Fatalf("%s: %v", line, err)
		}
		if p.failed {
			return
		}
	}
}

func (p *play) both() []*world { return []*world{p.flux, p.sluice} }

// in does something in both worlds at once.
func (p *play) in(do func(*world) error) error {
	done := make(chan error, 2)
	for _, w := range p.both() {
		go func() {
			err := do(w)
			if err != nil {
				err = fmt.Errorf("%s: %w", w, err)
			}
			done <- err
		}()
	}
	return errors.Join(<-done, <-done)
}

func (p *play) do(ctx context.Context, word, rest string) error {
	args := strings.Fields(rest)
	flow := func(n int) string { // what follows n words
		for range n {
			_, rest, _ = strings.Cut(strings.TrimSpace(rest), " ")
		}
		return rest
	}
	switch word {
	case "seal", "slow": // done before
		return nil
	case "repo":
		p.repo = args[0]
		return nil
	case "commit":
		return p.commit(args[0])
	case "run":
		if _, err := git(p.workCopy(), p.clock, args[1:]...); err != nil {
			return err
		}
		return p.push()
	case "submodule":
		return p.submodule(args[0])
	case "git":
		return p.gitRepository(ctx, args[0], flow(1))
	case "ks":
		return p.kustomization(ctx, args[0], flow(1))
	case "apply", "create":
		return p.in(func(w *world) error { return p.apply(ctx, w, word, args) })
	case "spec", "patch", "status":
		return p.merge(ctx, word, args[0], args[1], flow(2))
	case "reconcile":
		p.views++
		token := fmt.Sprint("token-", p.views)
		p.handled[args[0]+"/"+args[1]] = token
		return p.merge(ctx, "patch", args[0], args[1], `{metadata: {annotations: {reconcile.fluxcd.io/requestedAt: "`+token+`"}}}`)
	case "wait":
		return p.in(func(w *world) error { return p.wait(ctx, w, args) })
	case "flux":
		return p.wait(ctx, p.flux, args)
	case "sluice":
		return p.wait(ctx, p.sluice, args)
	case "there", "gone":
		return p.in(func(w *world) error {
			return lab.Poll(ctx, patience, func() error {
				_, err := p.get(ctx, w, args[0], args[1])
				if word == "gone" {
					if err == nil {
						return fmt.Errorf("%s is still there", rest)
					}
					if apierrors.IsNotFound(err) {
						return nil
					}
				}
				return err
			})
		})
	case "delete":
		return p.in(func(w *world) error {
			o := p.named(args[0], args[1])
			client, err := w.of(o, p.ns)
			if err != nil {
				return err
			}
			return client.Delete(ctx, o.GetName(), metav1.DeleteOptions{})
		})
	case "compare":
		return p.compare(ctx)
	}
	return fmt.Errorf("no such command")
}

// kinds are the API versions of the kinds that scripts name.
var kinds = map[string]string{
	"Kustomization": "kustomize.toolkit.fluxcd.io/v1", "GitRepository": "source.toolkit.fluxcd.io/v1",
	"ConfigMap": "v1", "Secret": "v1", "Namespace": "v1", "ServiceAccount": "v1", "Deployment": "apps/v1", "Job": "batch/v1",
	"CustomResourceDefinition": "apiextensions.k8s.io/v1", "Widget": "example.com/v1",
	"ClusterRole": "rbac.authorization.k8s.io/v1", "Role": "rbac.authorization.k8s.io/v1",
}

// named is an object of a kind and a name, which may be NAMESPACE/NAME.
func (p *play) named(kind, name string) *unstructured.Unstructured {
	switch kind {
	case "ks":
		kind = "Kustomization"
	case "git":
		kind = "GitRepository"
	}
	o := &unstructured.Unstructured{}
	o.SetKind(kind)
	o.SetAPIVersion(kinds[kind])
	if kind == "Widget" {
		o.SetAPIVersion(strings.TrimPrefix(p.ns, "p-") + ".example.com/v1")
	}
	if ns, short, ok := strings.Cut(name, "/"); ok {
		o.SetNamespace(ns)
		name = short
	}
	o.SetName(name)
	return o
}

func (p *play) get(ctx context.Context, w *world, kind, name string) (*unstructured.Unstructured, error) {
	o := p.named(kind, name)
	client, err := w.of(o, p.ns)
	if err != nil {
		return nil, err
	}
	return client.Get(ctx, o.GetName(), metav1.GetOptions{})
}

func (p *play) gitRepository(ctx context.Context, name, flow string) error {
	return p.in(func(w *world) error {
		spec := map[string]any{"interval": "1h", "url": fmt.Sprintf("%s/%s/%s/%s.git", p.host.URL, w, p.name, p.repo), "ref": map[string]any{"branch": "main"}}
		return p.createFlux(ctx, w, "git", name, spec, flow)
	})
}

func (p *play) kustomization(ctx context.Context, name, flow string) error {
	return p.in(func(w *world) error {
		spec := map[string]any{"interval": "1h", "path": "./", "prune": true, "sourceRef": map[string]any{"kind": "GitRepository", "name": "repo"}}
		return p.createFlux(ctx, w, "ks", name, spec, flow)
	})
}

// createFlux creates a Flux object; null in flow takes a default away.
func (p *play) createFlux(ctx context.Context, w *world, kind, name string, spec map[string]any, flow string) error {
	more, err := p.parse(w, flow)
	if err != nil {
		return err
	}
	for k, v := range more {
		if spec[k] = v; v == nil {
			delete(spec, k)
		}
	}
	o := p.named(kind, name)
	if err := unstructured.SetNestedField(o.Object, spec, "spec"); err != nil {
		return err
	}
	client, err := w.of(o, p.ns)
	if err != nil {
		return err
	}
	_, err = client.Create(ctx, o, metav1.CreateOptions{FieldManager: "user"})
	return err
}

// parse reads YAML; %GIT% stands for the engine's Git host and %DENY% for one that knows nobody.
func (p *play) parse(w *world, text string) (map[string]any, error) {
	text = strings.NewReplacer("%GIT%", p.host.URL+"/"+w.name+"/"+p.name, "%DENY%", p.deny.URL).Replace(text)
	out := map[string]any{}
	err := yaml.Unmarshal([]byte(text), &out)
	return out, err
}

func (p *play) merge(ctx context.Context, what, kind, name, flow string) error {
	return p.in(func(w *world) error {
		patch, err := p.parse(w, flow)
		if err != nil {
			return err
		}
		var sub []string
		switch what {
		case "spec":
			patch = map[string]any{"spec": patch}
		case "status":
			patch, sub = map[string]any{"status": patch}, []string{"status"}
		}
		data, err := json.Marshal(patch)
		if err != nil {
			return err
		}
		o := p.named(kind, name)
		client, err := w.of(o, p.ns)
		if err != nil {
			return err
		}
		_, err = client.Patch(ctx, o.GetName(), types.MergePatchType, data, metav1.PatchOptions{FieldManager: "user"}, sub...)
		return err
	})
}

func (p *play) apply(ctx context.Context, w *world, word string, args []string) error {
	text, ok := p.files[args[0]]
	if !ok {
		return fmt.Errorf("the fixture has no file %s", args[0])
	}
	for _, doc := range strings.Split(text, "\n---\n") {
		fields, err := p.parse(w, doc)
		if err != nil {
			return err
		}
		o := &unstructured.Unstructured{Object: fields}
		client, err := w.of(o, p.ns)
		if err != nil {
			return err
		}
		if word == "create" {
			_, err = client.Create(ctx, o, metav1.CreateOptions{FieldManager: args[1]})
		} else {
			_, err = client.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: "user", Force: true})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// wait waits for a Ready condition.
func (p *play) wait(ctx context.Context, w *world, args []string) error {
	kind, name, status, reason := args[0], args[1], args[2], args[3]
	return lab.Poll(ctx, patience, func() error {
		o, err := p.get(ctx, w, kind, name)
		if err != nil {
			return err
		}
		v := readyOf(o)
		switch {
		case v.status != status || v.reason != reason || v.generation != o.GetGeneration():
			return fmt.Errorf("Ready is %s %s of generation %d of %d: %s", v.status, v.reason, v.generation, o.GetGeneration(), v.message)
		case v.handled != p.handled[kind+"/"+name]:
			return fmt.Errorf("handled the request %q, not %q", v.handled, p.handled[kind+"/"+name])
		case status == "True" && len(args) == 4 && !strings.Contains(v.revision, p.head):
			return fmt.Errorf("is at %s, not at %s", v.revision, p.head)
		}
		return nil
	})
}

func (p *play) workCopy() string { return filepath.Join(p.root, "work", p.name, p.repo) }

// commit makes the files of a folder of the fixture the tree of the current repository, and pushes it.
func (p *play) commit(dir string) error {
	work := p.workCopy()
	if _, err := os.Stat(work); err != nil {
		if err := p.newRepository(work); err != nil {
			return err
		}
	}
	if _, err := git(work, p.clock, "rm", "-rfq", "--ignore-unmatch", "."); err != nil {
		return err
	}
	for path, text := range p.files {
		rel, ok := strings.CutPrefix(path, dir+"/")
		if !ok {
			continue
		}
		full := filepath.Join(work, rel)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			return err
		}
	}
	p.clock++
	for _, args := range [][]string{{"add", "-A"}, {"commit", "-q", "--allow-empty", "-m", dir}} {
		if _, err := git(work, p.clock, args...); err != nil {
			return err
		}
	}
	return p.push()
}

func (p *play) submodule(name string) error {
	head, err := git(filepath.Join(p.root, "work", p.name, name), p.clock, "rev-parse", "HEAD")
	if err != nil {
		return err
	}
	modules := fmt.Sprintf("[submodule %q]\n\tpath = %[1]s\n\turl = ../%[1]s.git\n", name)
	if err := os.WriteFile(filepath.Join(p.workCopy(), ".gitmodules"), []byte(modules), 0o644); err != nil {
		return err
	}
	for _, args := range [][]string{{"add", ".gitmodules"}, {"update-index", "--add", "--cacheinfo", "160000," + head + "," + name}, {"commit", "-q", "-m", "submodule"}} {
		if _, err := git(p.workCopy(), p.clock, args...); err != nil {
			return err
		}
	}
	return p.push()
}

func (p *play) newRepository(work string) error {
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	if _, err := git(work, 0, "init", "-q", "-b", "main"); err != nil {
		return err
	}
	for _, w := range p.both() {
		bare := filepath.Join(p.root, w.name, p.name, p.repo+".git")
		if _, err := git(work, 0, "init", "-q", "--bare", "-b", "main", bare); err != nil {
			return err
		}
		if _, err := git(work, 0, "remote", "add", w.name, bare); err != nil {
			return err
		}
	}
	return nil
}

func (p *play) push() (err error) {
	for _, w := range p.both() {
		for _, what := range []string{"--all", "--tags"} {
			if _, err := git(p.workCopy(), p.clock, "push", "-q", "--force", w.name, what); err != nil {
				return err
			}
		}
	}
	p.head, err = git(p.workCopy(), p.clock, "rev-parse", "HEAD")
	return err
}
