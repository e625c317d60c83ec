package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
)

func TestGroupsAreAddedAndDeletedAsSOPSWouldOpenThem(t *testing.T) {
	b := newBench(t)
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	b.write("db.yaml", sample)
	b.must("encrypt", "--age", b.recipient, "-i", "db.yaml")
	mac := wrapped.ReplaceAllString(b.read("db.yaml"), "")
	b.must("groups", "add", "-i", "--file", "db.yaml", "--age", other.Recipient().String(), "--shamir-secret-sharing-threshold", "2")
	if code, _, _ := b.sops("decrypt", "db.yaml"); code == 0 {
		t.Error("one of two groups opens it")
	}
	alone := b.env
	for i, e := range b.env {
		if strings.HasPrefix(e, "SOPS_AGE_KEY=") {
			b.env = append(append([]string{}, b.env[:i]...), append([]string{e + "\n" + other.String()}, b.env[i+1:]...)...)
		}
	}
	if _, plain, errOut := b.sops("decrypt", "db.yaml"); plain != sample {
		t.Errorf("two of two: %s", errOut)
	}
	b.must("groups", "delete", "-i", "--file", "db.yaml", "1", "--shamir-secret-sharing-threshold", "1")
	b.env = alone
	if _, plain, errOut := b.sops("decrypt", "db.yaml"); plain != sample {
		t.Errorf("one group again: %s", errOut)
	}
	if values := wrapped.ReplaceAllString(b.read("db.yaml"), ""); len(mac) == 0 || !strings.Contains(values, strings.Split(mac, "sops:")[0]) {
		t.Error("values were sealed anew")
	}
	for name, args := range map[string][]string{
		"no key group 3": {"groups", "delete", "--file", "db.yaml", "3"}, "no recipient would be left": {"groups", "delete", "--file", "db.yaml", "0"},
		"no member": {"groups", "add", "--file", "db.yaml"}, "--file FILE": {"groups", "add"},
	} {
		if code, _, errOut := b.sluice(args...); code == 0 || !strings.Contains(errOut, name) || !strings.Contains(errOut, "fix") {
			t.Errorf("%v: exit %d\n%s", args, code, errOut)
		}
	}
}

func TestWhatSOPSHasAndSluiceHasNotIsRefusedByName(t *testing.T) {
	b := newBench(t)
	b.write("db.yaml", sample)
	b.must("encrypt", "--age", b.recipient, "-i", "db.yaml")
	huawei := strings.Replace(b.read("db.yaml"), "    age:\n", "    hckms:\n        - key_id: cn-north-4:abc\n          created_at: \"2026-01-01T00:00:00Z\"\n          enc: YQ==\n    not_age:\n", 1)
	b.write("huawei.yaml", strings.Replace(huawei, "    not_age:", "    age: []\n    ignored:", 1))
	for want, args := range map[string][]string{
		"--keyservice":                    {"decrypt", "--keyservice", "tcp://127.0.0.1:5000", "db.yaml"},
		"--enable-local-keyservice":       {"decrypt", "--enable-local-keyservice=false", "db.yaml"},
		"--background":                    {"exec-env", "--background", "db.yaml", "true"},
		"--add-hckms":                     {"rotate", "--add-hckms", "cn-north-4:abc", "db.yaml"},
		"--rm-hckms":                      {"rotate", "--rm-hckms", "cn-north-4:abc", "db.yaml"},
		"--hckms":                         {"encrypt", "--hckms", "cn-north-4:abc", "db.yaml"},
		"no publish":                      {"publish", "db.yaml"},
		"no keyservice":                   {"keyservice", "--network", "tcp"},
		"no kind of key":                  {"decrypt", "--decryption-order", "gpg", "db.yaml"},
		"only keys of Huawei Cloud KMS":   {"decrypt", "huawei.yaml"},
		"belong to --outdated":            {"rotate", "--offline", "db.yaml"},
		"no version of the key is stored": {"rotate", "--outdated", "--offline", "azure.yaml"},
	} {
		if strings.Contains(want, "stored") {
			b.write("azure.yaml", strings.Replace(b.read("db.yaml"), "    age:\n", "    azure_kv:\n        - vault_url: https://v.vault.azure.net\n          name: sops\n          version: "+strings.Repeat("1", 32)+"\n          created_at: \"2026-01-01T00:00:00Z\"\n          enc: YQ==\n    age:\n", 1))
		}
		code, _, errOut := b.sluice(args...)
		if code == 0 || !strings.Contains(errOut, want) || !strings.Contains(errOut, "  fix  ") {
			t.Errorf("%v: exit %d, want %q\n%s", args, code, want, errOut)
		}
	}
	if code, _, errOut := b.process(os.Args[0], []string{"secrets", "decrypt", "db.yaml"}, "", "SOPS_KEYSERVICE=tcp://127.0.0.1:5000"); code == 0 || !strings.Contains(errOut, "$SOPS_KEYSERVICE") {
		t.Errorf("the variable: exit %d\n%s", code, errOut)
	}
	b.must("decrypt", "--enable-local-keyservice", "--decryption-order", "pgp,age", "db.yaml")
}

// The order decides which service is asked first: Vault's key opens the file before age's is tried, and the other way round.
func TestTheDecryptionOrderDecidesWhoIsAsked(t *testing.T) {
	b := newBench(t)
	s := newKeyServices(t)
	b.env = append(b.env, s.env...)
	b.write("db.yaml", sample)
	b.must("encrypt", "--age", b.recipient, "--hc-vault-transit", s.vaultURI(), "-i", "db.yaml")
	for _, tt := range []struct {
		order string
		asks  bool
	}{{"hc_vault,age", true}, {"age", false}, {"", false}} {
		before := s.asked.Load()
		if code, out, errOut := b.process(os.Args[0], []string{"secrets", "decrypt", "db.yaml"}, "", "SOPS_DECRYPTION_ORDER="+tt.order); code != 0 || out != sample {
			t.Errorf("%q: exit %d\n%s", tt.order, code, errOut)
		}
		if asked := s.asked.Load() > before; asked != tt.asks {
			t.Errorf("%q: Vault asked: %v", tt.order, asked)
		}
	}
}

// A thousand staged files are read by one process, and what is staged counts, not what lies there.
func TestStagedFilesAreReadByOneProcess(t *testing.T) {
	b := newBench(t)
	b.mustGit("init", "-q")
	b.must("init", "--age", b.recipient)
	for i := range 40 {
		b.write("s"+itoa(i)+".yaml", sample)
	}
	b.write("with space\nand line.yaml", sample)
	b.mustGit("add", ".")
	for i := range 40 {
		b.write("s"+itoa(i)+".yaml", "a: b\n")
	}
	trace := filepath.Join(t.TempDir(), "trace")
	b.env = append(b.env, "GIT_TRACE="+trace)
	code, out, _ := b.sluice("check", "--staged")
	if code != 1 || strings.Count(out, "\tplain-secret\t") != 41 {
		t.Errorf("exit %d\n%s", code, out)
	}
	table := out[strings.LastIndex(out, "\nFILE"):]
	if strings.Count(table, "\n") != 43 || !strings.Contains(table, "s0.yaml") || !strings.Contains(table, "1         plain-secret") {
		t.Errorf("the table at the end:\n%s", table)
	}
	data, err := os.ReadFile(trace)
	if n := strings.Count(string(data), "built-in: git cat-file"); err != nil || n < 1 || n > 2 { // one more for the name with a line end
		t.Errorf("%d processes, %v", n, err)
	}
}
