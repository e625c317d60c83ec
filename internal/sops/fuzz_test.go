package sops

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"filippo.io/age"
)

// fuzzID is whom the seeds are sealed for. They lie under testdata/fuzz: whole documents, and such as were cut, changed,
// merged badly or never sealed.
func fuzzID(t testing.TB) *age.X25519Identity {
	t.Helper()
	id, err := age.ParseX25519Identity("AGE-SECRET-KEY-184JMZMVQH3E6U0PSL869004Y3U2NYV7R30EU99CSEDNPH02YUVFSZW44VU")
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func fuzzRing(t testing.TB) ring { return ring{fuzzID(t)} }

// fuzzOpen: a reader never panics and quotes no value, what passes the MAC reads the same the second time, and the parts
// of the package that read without a key agree that it is sealed.
func fuzzOpen(f *testing.F, format Format) {
	r := fuzzRing(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		name := "x." + map[Format]string{YAML: "yaml", JSON: "json", Dotenv: "env", INI: "ini", Binary: "bin"}[format]
		sealed := IsEncrypted(name, data)
		plain, err := Open(t.Context(), r, name, data, format, Enforce)
		noCanary(t, err)
		if err != nil {
			if plain != nil {
				t.Error("plaintext beside an error")
			}
			_, err = Peek(name, data, format)
			noCanary(t, err)
			return
		}
		if !sealed {
			t.Error("it opens, and was not seen to be sealed")
		}
		if _, err := Peek(name, data, format); err != nil {
			t.Errorf("it opens, and has no metadata: %v", err)
		}
		again, err := Open(t.Context(), r, name, data, format, Off)
		if err != nil || string(again) != string(plain) {
			t.Errorf("without its MAC it opens to something else: %v", err)
		}
	})
}

func FuzzOpenYAML(f *testing.F)   { fuzzOpen(f, YAML) }
func FuzzOpenJSON(f *testing.F)   { fuzzOpen(f, JSON) }
func FuzzOpenDotenv(f *testing.F) { fuzzOpen(f, Dotenv) }
func FuzzOpenINI(f *testing.F)    { fuzzOpen(f, INI) }
func FuzzOpenBinary(f *testing.F) { fuzzOpen(f, Binary) }

// Seeds that no longer open would leave a fuzzer at the door.
func TestEachFuzzTargetBeginsWithADocumentThatOpens(t *testing.T) {
	r := fuzzRing(t)
	for target, format := range map[string]Format{"FuzzOpenYAML": YAML, "FuzzOpenJSON": JSON, "FuzzOpenDotenv": Dotenv, "FuzzOpenINI": INI, "FuzzOpenBinary": Binary} {
		files, err := filepath.Glob(filepath.Join("testdata", "fuzz", target, "*"))
		if err != nil || len(files) < 4 {
			t.Errorf("%s has %d seeds: %v", target, len(files), err)
		}
		opened := 0
		for _, name := range files {
			if _, err := Open(t.Context(), r, name, seedOf(t, name), format, Enforce); err == nil {
				opened++
			}
		}
		if opened == 0 {
			t.Errorf("%s: no seed opens", target)
		}
	}
}

// seedOf reads a seed of one []byte as the go command stores it.
func seedOf(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(raw), "[]byte(")
	return []byte(unquoted(t, strings.TrimSuffix(strings.TrimSpace(text), ")")))
}

func unquoted(t *testing.T, text string) string {
	t.Helper()
	s, err := strconv.Unquote(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
