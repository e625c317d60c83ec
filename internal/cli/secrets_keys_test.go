package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// away takes the network and the sign-in from the bench.
func (b *bench) away() {
	b.env = slices.DeleteFunc(b.env, func(e string) bool { return strings.HasPrefix(e, "AZURE_") || strings.HasPrefix(e, "HTTPS_PROXY=") })
	b.env = append(b.env, "HTTPS_PROXY=http://127.0.0.1:1")
}

func TestAFetchedKeyEncryptsWithoutNetworkAndPermission(t *testing.T) {
	v, b := newVault(t, "get", "create", "decrypt"), newBench(t) // not encrypt: that is the point
	newest := v.key.Vault + "/keys/" + v.key.Name
	home := slices.Clone(b.env)
	b.env = append(b.env, v.env...)
	key, _, err := v.keys.PublicKey(t.Context(), v.key)
	if err != nil {
		t.Fatal(err)
	}
	if out := b.must("keys", "fetch", newest); !strings.Contains(out, key.String()+"\tstored") {
		t.Errorf("fetched: %s", out)
	}
	if out := b.must("keys", "fetch", key.String()); !strings.Contains(out, "already there") {
		t.Errorf("fetched again: %s", out)
	}
	b.must("keys", "fetch", "--check")
	if out := b.must("keys", "list"); !strings.Contains(out, key.String()) {
		t.Errorf("list: %s", out)
	}

	b.env = slices.Clone(home)
	b.away()
	b.must("init", "--azure-kv", newest)
	b.write("a.yaml", sample)
	b.must("encrypt", "-i", "a.yaml")
	if text := b.read("a.yaml"); !strings.Contains(text, key.Version) || strings.Contains(text, "CANARY") {
		t.Fatalf("sealed as\n%s", text)
	}
	b.env = append(slices.Clone(home), v.env...)
	if out := b.must("decrypt", "a.yaml"); !strings.Contains(out, "CANARY-hunter2") {
		t.Error("the vault does not open what was sealed without it")
	}
	b.must("check", "--online", "--decrypt")

	// The key is rotated: store and file are stale, and whoever looks is told.
	v.rotate(t)
	if code, out, errOut := b.sluice("keys", "fetch", "--check"); code != 1 || !strings.Contains(out, "newest version is") {
		t.Errorf("a stale key: exit %d\n%s%s", code, out, errOut)
	}
	if code, out, errOut := b.sluice("check", "--online", "--decrypt"); code != 1 || !strings.Contains(out, "stale-key-version") || !strings.Contains(errOut, "1 MACs verified") {
		t.Errorf("a stale document: exit %d\n%s%s", code, out, errOut)
	}

	// A stored key that was exchanged is not used.
	stored, err := filepath.Glob(b.path(".sluice/keys/*.json"))
	if err != nil || len(stored) != 1 {
		t.Fatalf("stored: %v, %v", stored, err)
	}
	data, err := os.ReadFile(stored[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stored[0], []byte(strings.Replace(string(data), `"thumbprint": "`, `"thumbprint": "x`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	b.write("b.yaml", sample)
	if code, _, errOut := b.sluice("encrypt", "-i", "b.yaml"); code == 0 || !strings.Contains(errOut, "not the one that was fetched") {
		t.Errorf("an exchanged key: exit %d\n%s", code, errOut)
	}
}

func TestKeysSayWhatIsMissing(t *testing.T) {
	b := newBench(t)
	if code, _, errOut := b.sluice("keys", "fetch"); code != 2 || !strings.Contains(errOut, "URLs") {
		t.Errorf("exit %d\n%s", code, errOut)
	}
	if code, _, _ := b.sluice("keys", "list"); code != 1 {
		t.Errorf("an empty list: exit %d", code)
	}
}
