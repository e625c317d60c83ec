package render

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/source"
)

// sealedTree has n encrypted Secrets, listed in order.
func sealedTree(n int) source.Tree {
	files := map[string]string{}
	var k strings.Builder
	k.WriteString("resources:\n")
	for i := range n {
		name := fmt.Sprintf("s%02d", i)
		fmt.Fprintf(&k, "- %s.yaml\n", name)
		files[name+".yaml"] = "apiVersion: v1\nkind: Secret\nmetadata: {name: " + name + "}\nstringData:\n  k: " + seal(name+"-value") + "\n" + sopsBlock
	}
	files["kustomization.yaml"] = k.String()
	return source.MapTree(files)
}

func TestDocumentsAreOpenedOnceAndSideBySide(t *testing.T) {
	var mu sync.Mutex
	var opened []string
	meet := make(chan struct{})
	res, err := Render(context.Background(), Request{
		Tree: sealedTree(12), Encrypted: fakeEncrypted,
		Open: func(ctx context.Context, p string, data []byte) ([]byte, error) {
			mu.Lock()
			opened = append(opened, p)
			if len(opened) == 2 {
				close(meet)
			}
			mu.Unlock()
			<-meet // only comes when two are under way together
			return fakeOpen(ctx, p, data)
		},
	})
	if err != nil || len(res.Objects) != 12 {
		t.Fatalf("%v", err)
	}
	slices.Sort(opened)
	if len(opened) != 12 || len(slices.Compact(opened)) != 12 {
		t.Errorf("opened %v", opened)
	}
	if got, _, _ := unstructuredString(res, 11, "stringData", "k"); got != "s11-value" {
		t.Errorf("last object: %q", got)
	}
}

func unstructuredString(res *Result, i int, fields ...string) (string, bool, error) {
	m := any(res.Objects[i].Object)
	for _, f := range fields {
		m = m.(map[string]any)[f]
	}
	s, ok := m.(string)
	return s, ok, nil
}

func TestTheOpenersFaultIsReturnedAsItIs(t *testing.T) {
	want := &fault.Fault{Hop: fault.HopEntra, Seen: "AADSTS700213", File: "s03.yaml"}
	_, err := Render(context.Background(), Request{
		Tree: sealedTree(12), Encrypted: fakeEncrypted,
		Open: func(ctx context.Context, p string, data []byte) ([]byte, error) {
			if p == "s03.yaml" {
				return nil, fmt.Errorf("open: %w", want)
			}
			<-ctx.Done()
			return nil, ctx.Err()
		},
	})
	if !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
}

func TestOnlyWhatTheBuildReadsIsOpened(t *testing.T) {
	files := map[string]string{
		"kustomization.yaml": "resources: [a.yaml]\nsecretGenerator: [{name: s, envs: [dir/prod], files: [c.ini=x.unknown]}]\n",
		"a.yaml":             configMap + sopsBlock, "unused.yaml": configMap + sopsBlock, "dir/prod": "A=1\nsops_mac=x\n", "x.unknown": `{"data":"","sops":{}}`,
	}
	var mu sync.Mutex
	var opened []string
	_, err := Render(context.Background(), Request{
		Tree: source.MapTree(files), Encrypted: fakeEncrypted,
		Open: func(ctx context.Context, p string, data []byte) ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			opened = append(opened, p)
			return fakeOpen(ctx, p, data)
		},
	})
	slices.Sort(opened)
	// An env file is dotenv unless its extension says otherwise; any other file is what its own extension says.
	if want := []string{"a.yaml", "dir/prod.env", "x.unknown"}; err != nil || !slices.Equal(opened, want) {
		t.Errorf("opened %v, want %v; %v", opened, want, err)
	}
}

func TestAnEncryptedDocumentThatIsNoSecretPassesWithoutDecryption(t *testing.T) {
	res, err := Render(context.Background(), Request{
		Tree: source.MapTree(map[string]string{"a.yaml": configMap + sopsBlock}), Encrypted: fakeEncrypted,
	})
	if err != nil || len(res.Objects) != 1 {
		t.Errorf("%v", err)
	}
}

// In a goroutine of its own a panic would end the process and print what it was raised with.
func TestAPanickingOpenerFailsItsRenderAndPrintsNothing(t *testing.T) {
	_, err := Render(context.Background(), Request{
		Tree: sealedTree(12), Encrypted: fakeEncrypted,
		Open: func(ctx context.Context, p string, data []byte) ([]byte, error) {
			plain, err := fakeOpen(ctx, p, data)
			if p == "s03.yaml" {
				panic("CANARY-" + string(plain))
			}
			return plain, err
		},
	})
	f := fault.From(err)
	if f == nil || f.Code != "SLU-BUG-003" || f.File != "s03.yaml" || !strings.Contains(f.Seen, "open_test.go:") {
		t.Fatalf("got %v", err)
	}
	if text := f.Multiline(); strings.Contains(text, "CANARY") || strings.Contains(text, "s03-value") {
		t.Errorf("the fault repeats what was panicked with: %s", text)
	}
}

// Whoever reads the status must learn which file waited for whom, not that a context ended.
func TestADocumentThatIsNotOpenedInTimeIsNamed(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := Render(ctx, Request{
		Tree: sealedTree(12), Encrypted: fakeEncrypted,
		Open: func(ctx context.Context, p string, data []byte) ([]byte, error) {
			if p == "s03.yaml" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return fakeOpen(ctx, p, data)
		},
	})
	if f := fault.From(err); f == nil || f.Code != "SLU-SOPS-103" || f.File != "s03.yaml" || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	gone, leave := context.WithCancel(t.Context())
	_, err = Render(gone, Request{Tree: sealedTree(2), Encrypted: fakeEncrypted, Open: func(context.Context, string, []byte) ([]byte, error) {
		leave()
		return nil, gone.Err()
	}})
	if !errors.Is(err, context.Canceled) || fault.From(err) != nil {
		t.Errorf("a render that was cancelled: %v", err)
	}
}
