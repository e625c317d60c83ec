package testkit

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"
)

// Namespace creates a namespace of a name that no other has and returns the name. It stays: without a controller it
// could not be deleted.
func Namespace(t testing.TB, env *Env) string {
	t.Helper()
	client, err := kubernetes.NewForConfig(env.Config)
	if err != nil {
		t.Fatal(err)
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: namePrefix(t.Name())}}
	ns, err = client.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return ns.Name
}

// namePrefix makes a test's name the beginning of an object name, so that it can be told whose it is.
func namePrefix(test string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, test)
	if len(name) > 40 {
		name = name[:40]
	}
	return "t-" + name + "-"
}

// InstallCRDs creates or updates the CustomResourceDefinitions of a YAML stream and waits until they are served.
func InstallCRDs(t testing.TB, env *Env, stream []byte) {
	t.Helper()
	defs, err := parseCRDs(stream)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := envtest.InstallCRDs(env.Config, envtest.CRDInstallOptions{CRDs: defs, MaxTime: startTimeout}); err != nil {
		t.Fatal(err)
	}
}

func parseCRDs(stream []byte) ([]*apiextensionsv1.CustomResourceDefinition, error) {
	var defs []*apiextensionsv1.CustomResourceDefinition
	for docs := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(stream))); ; {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return defs, nil
		}
		if err != nil {
			return nil, err
		}
		def := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.Unmarshal(doc, def); err != nil {
			return nil, err
		}
		if def.Name != "" { // a document of comments only
			defs = append(defs, def)
		}
	}
}
