package render

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"

	"github.com/sluice-gitops/sluice/internal/fault"
	"github.com/sluice-gitops/sluice/internal/source"
)

func seal(value string) string {
	return "ENC[" + base64.StdEncoding.EncodeToString([]byte(value)) + "]"
}

const sopsBlock = "sops:\n  mac: ENC[]\n"

// Each of these decrypts to something that cannot be built, with the canary where an error might quote it.
func TestFaultsHoldNoDecryptedValue(t *testing.T) {
	const canary = "c4n4ry-Value\"x"
	encoded := base64.StdEncoding.EncodeToString([]byte(canary))
	resource := func(text string) map[string]string {
		return map[string]string{"kustomization.yaml": "resources: [s.yaml]\n", "s.yaml": text + sopsBlock}
	}
	patch := func(text string) map[string]string {
		return map[string]string{"kustomization.yaml": "resources: [a.yaml]\npatches: [{path: s.yaml}]\n", "a.yaml": configMap, "s.yaml": text + sopsBlock}
	}
	generator := func(kind, plain string) map[string]string {
		return map[string]string{
			"kustomization.yaml": "secretGenerator: [{name: s, " + kind + ": [s.env]}]\n", "s.env": plain + "\nsops_mac=ENC[]\n",
		}
	}
	head := "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"
	for name, files := range map[string]map[string]string{
		"not YAML":                   resource(head + "data:\n  k: " + seal(canary+"\n bad") + "\n"),
		"anchor":                     resource(head + "data:\n  k: " + seal("*"+canary) + "\n"),
		"tag":                        resource(head + "data:\n  k: " + seal("!!int "+canary) + "\n"),
		"float tag":                  resource(head + "data:\n  k: " + seal("!!float 'c4n4ry-Value'") + "\n"),
		"merge key":                  resource(head + "data:\n  <<: " + seal("c4n4ry-Value") + "\n"),
		"duplicate key":              resource(head + "data:\n  k: " + seal("c4n4ry-Value") + "\n  k: 2\n"),
		"name that is a map":         resource("apiVersion: v1\nkind: Secret\nmetadata:\n  name: {x: " + seal("c4n4ry-Value") + "}\n"),
		"kind that is a list":        resource("apiVersion: v1\nkind: [" + seal("c4n4ry-Value") + "]\nmetadata: {name: s}\n"),
		"annotations that are lists": resource("apiVersion: v1\nkind: Secret\nmetadata: {name: s, annotations: [" + seal("c4n4ry-Value") + "]}\n"),
		"items":                      resource("apiVersion: v1\nkind: SecretList\nitems: " + seal("c4n4ry-Value") + "\n"),
		"document":                   resource(seal(canary) + "\n"),
		"patch that is nothing":      patch(seal(canary) + "\n"),
		"patch of nothing":           patch("apiVersion: v1\nkind: Secret\nmetadata: {name: " + seal("c4n4ry-Value") + "}\n"),
		"patch without target":       patch("- {op: add, path: /data, value: " + seal("c4n4ry-Value") + "}\n"),
		"patch with a bad operation": patch("- {op: " + seal("c4n4ry-Value") + ", path: /data, value: 1}\n"),
		"env that is not UTF-8":      generator("envs", seal("\xff\xfe=c4n4ry-Value")),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Render(context.Background(), Request{Tree: source.MapTree(files), Encrypted: fakeEncrypted, Open: fakeOpen})
			if err == nil {
				t.Fatal("it renders; the case shows nothing")
			}
			f := fault.From(err)
			if f == nil {
				t.Fatalf("not a fault: %v", err)
			}
			said := fmt.Sprintf("%v %+v %#v %s %v", err, err, f, f.Multiline(), f.Err)
			for _, form := range []string{"c4n4ry", encoded, "[99 52 110"} {
				if strings.Contains(said, form) {
					t.Errorf("the fault says %q:\n%s", form, said)
				}
			}
			if f.File == "" {
				t.Errorf("no file is named: %s", err)
			}
			t.Log(err)
		})
	}
}

func TestVariablesAreNotShown(t *testing.T) {
	_, err := Render(context.Background(), Request{
		Tree: source.MapTree(map[string]string{"a.yaml": configMap + "data: {x: '${pass}'}\n"}),
		Vars: map[string]string{"pass": "c4n4ry: \"x: y"},
		Kustomization: &kustomizev1.Kustomization{Spec: kustomizev1.KustomizationSpec{
			PostBuild: &kustomizev1.PostBuild{},
		}},
	})
	if err == nil || strings.Contains(fmt.Sprintf("%v %#v", err, fault.From(err)), "c4n4ry") {
		t.Errorf("got %v", err)
	}
}

func TestSecretsListsWhatWasEncryptedAndWhatSecretsHold(t *testing.T) {
	_, req := load(t, "testdata/sops.txtar")
	req.Tree = overlaid{req.Tree, map[string]string{"apps/target.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: target2}\n" +
		"data: {plain: cGxhaW4tYjY0}\nstringData: {plain: as-string}\n---\n" + strings.ReplaceAll(configMap, "name: a", "name: target") + "data: {open: not-secret}\n"}}
	res, err := Render(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"hunter2", "from-patch", "key = 1\n", "t0ken", "root", "word", "plain-b64", "cGxhaW4tYjY0", "as-string"} {
		if !slices.ContainsFunc(res.Secrets, func(s []byte) bool { return bytes.Equal(s, []byte(want)) }) {
			t.Errorf("%q is not listed", want)
		}
	}
	for _, s := range res.Secrets {
		if slices.Contains([]string{"", "not-secret", "Opaque", "v1", "target"}, string(s)) {
			t.Errorf("%q is listed", s)
		}
	}
}

// overlaid is a tree with some files replaced.
type overlaid struct {
	source.Tree
	files map[string]string
}

func (o overlaid) ReadFile(p string) ([]byte, string, error) {
	if data, ok := o.files[p]; ok {
		return []byte(data), "h", nil
	}
	return o.Tree.ReadFile(p)
}

func TestRedactHidesEverySpellingOfAValue(t *testing.T) {
	var s secretValues
	s.add("p\"ss\nword-two")
	s.add("abc")
	s.add("long-value")
	s.add("long-value-that-holds-another")
	for in, want := range map[string]string{
		`x p"ss` + "\n" + `word-two y`:         "x *** y",
		`{"a":"p\"ss\nword-two"}`:              `{"a":"***"}`,
		"cCJzcwp3b3JkLXR3bw==":                 "***",
		"line word-two alone":                  "line *** alone",
		"abc abcd xabc =abc,":                  "*** abcd xabc =***,",
		"long-value-that-holds-another":        "***",
		"in [112 34 115 115] bytes":            "in […] bytes",
		"cannot unmarshal !!str `p\"ss\\n...`": "cannot unmarshal !!str `…`",
		"nothing":                              "nothing",
	} {
		if got := s.redact(in); got != want {
			t.Errorf("redact(%q) = %q, want %q", in, got, want)
		}
	}
	if got := new(secretValues).redact("`kept` [1 2]"); got != "`kept` [1 2]" {
		t.Errorf("without values: %q", got)
	}
}
