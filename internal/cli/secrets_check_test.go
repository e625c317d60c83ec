package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// git runs Git in the bench's folder, with the bench's environment, so that hooks find what it finds.
func (b *bench) git(args ...string) (string, error) {
	c := exec.Command("git", args...)
	c.Dir, c.Env = b.dir, append(b.env, "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	out, err := c.CombinedOutput()
	return string(out), err
}

func (b *bench) mustGit(args ...string) string {
	b.t.Helper()
	out, err := b.git(args...)
	if err != nil {
		b.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return out
}

// program puts a command called sluice, which is this test, on the bench's PATH.
func (b *bench) program() {
	b.t.Helper()
	dir := b.t.TempDir()
	if err := os.Symlink(os.Args[0], filepath.Join(dir, "sluice")); err != nil {
		b.t.Fatal(err)
	}
	for i, e := range b.env {
		if path, ok := strings.CutPrefix(e, "PATH="); ok {
			b.env[i] = "PATH=" + dir + string(os.PathListSeparator) + path
		}
	}
}

func TestCheckFindsWhatIsNotSealedAndEndsWithOne(t *testing.T) {
	b := newBench(t)
	b.must("init", "--age", b.recipient)
	b.write("a.yaml", sample)
	b.write("b.yaml", sample)
	b.must("encrypt", "-i", "a.yaml")
	code, out, errOut := b.sluice("check")
	if code != 1 || !strings.Contains(out, "b.yaml:7\tplain-secret\tSecret/x is not sealed") || strings.Contains(out+errOut, "CANARY") || strings.Contains(out, "a.yaml") {
		t.Errorf("exit %d\n%s%s", code, out, errOut)
	}
	if !strings.Contains(errOut, "1 MACs verified") {
		t.Errorf("the key at hand was not used: %s", errOut)
	}
	b.must("encrypt", "-i", "b.yaml")
	b.write("a.yaml", strings.Replace(b.read("a.yaml"), "name: x", "name: z", 1))
	if code, out, _ := b.sluice("check"); code != 1 || !strings.Contains(out, "broken-mac") {
		t.Errorf("a wrong MAC: exit %d\n%s", code, out)
	}
	if code, _, errOut := b.sluice("check", "--decrypt=false"); code != 0 || !strings.Contains(errOut, "no MAC was looked at") {
		t.Errorf("without keys: exit %d\n%s", code, errOut)
	}
	for _, args := range [][]string{{"check", "-o", "xml"}, {"check", "nosuch"}, {"check", "--as-kustomization", "a.yaml"}, {"check", "--staged"}} {
		if code, _, errOut := b.sluice(args...); code == 0 || code == 1 || !strings.Contains(errOut, "fix") {
			t.Errorf("%v: exit %d\n%s", args, code, errOut)
		}
	}
	b.write(".sops.yaml", "creation_rules:\n  - encrypted_regexp: x\n")
	if code, _, errOut := b.sluice("check"); code != 2 || !strings.Contains(errOut, ".sops.yaml:2") {
		t.Errorf("unreadable rules: exit %d\n%s", code, errOut)
	}
}

func TestInitNeverOverwrites(t *testing.T) {
	b := newBench(t)
	b.must("init", "--azure-kv", "https://one.vault.azure.net/keys/sops/0123456789abcdef0123456789abcdef", "--age", b.recipient)
	text := b.read(".sops.yaml")
	if code, _, errOut := b.sluice("init", "--age", b.recipient); code != 2 || !strings.Contains(errOut, "already") || b.read(".sops.yaml") != text {
		t.Errorf("exit %d\n%s", code, errOut)
	}
	for _, args := range [][]string{{"init", "x"}, {"init", "--age", "age1nonsense", b.dir + "/y"}} {
		if code, _, _ := b.sluice(args...); code != 2 {
			t.Errorf("%v: exit %d", args, code)
		}
	}
}

func TestTheHookChecksWhatIsCommittedAndDiffsAreReadable(t *testing.T) {
	for _, hooks := range []string{"", "my hooks"} {
		b := newBench(t)
		b.program()
		b.mustGit("init", "-q", "-b", "main")
		hook := ".git/hooks/pre-commit"
		if hooks != "" {
			b.mustGit("config", "core.hooksPath", hooks)
			hook = hooks + "/pre-commit"
		}
		b.write(hook, "#!/bin/sh\ntouch ran\nexit 0\n")
		b.write(".gitattributes", "*.png binary") // without a line's end
		before := [2]string{b.read(hook), b.read(".gitattributes")}
		b.must("install")
		installed := b.read(hook)
		if again := b.must("install"); strings.Count(again, "already there") != 4 || b.read(hook) != installed {
			t.Errorf("installed twice:\n%s", again)
		}

		b.must("init", "--age", b.recipient)
		b.write("a.yaml", sample)
		b.mustGit("add", ".")
		if out, err := b.git("commit", "-qm", "plain"); err == nil || !strings.Contains(out, "plain-secret") || strings.Contains(out, "CANARY") {
			t.Errorf("a plain Secret was committed: %v\n%s", err, out)
		}
		b.must("encrypt", "-i", "a.yaml")
		b.mustGit("add", ".")
		b.mustGit("commit", "-qm", "sealed")
		if _, err := os.Stat(b.path("ran")); err != nil {
			t.Error("what the hook did before, it does no longer")
		}
		b.must("set", "a.yaml", `["stringData"]["password"]`, `"CANARY-new"`)
		if out := b.mustGit("diff"); !strings.Contains(out, "-    password: CANARY-hunter2") || !strings.Contains(out, "+    password: CANARY-new") || strings.Contains(out, "ENC[") {
			t.Errorf("the diff is not readable:\n%s", out)
		}
		for i, e := range b.env {
			if strings.HasPrefix(e, "SOPS_AGE_KEY=") {
				b.env[i] = "SOPS_AGE_KEY="
			}
		}
		if out := b.mustGit("diff"); !strings.Contains(out, "ENC[") || strings.Contains(out, "CANARY") {
			t.Errorf("without the key:\n%s", out)
		}
		b.must("install", "--uninstall")
		if got := [2]string{b.read(hook), strings.TrimSuffix(b.read(".gitattributes"), "\n")}; got != before {
			t.Errorf("left behind: %q, want %q", got, before)
		}
		if out, err := b.git("config", "--get-regexp", "sluice"); err == nil {
			t.Errorf("left behind: %s", out)
		}
		b.must("install", "--uninstall")
	}
}

func TestAHookThatIsNoShellScriptIsLeftAlone(t *testing.T) {
	b := newBench(t)
	b.mustGit("init", "-q")
	b.write(".git/hooks/pre-commit", "#!/usr/bin/env python3\n")
	if code, _, errOut := b.sluice("install"); code == 0 || !strings.Contains(errOut, "sluice secrets check --staged") || b.read(".git/hooks/pre-commit") != "#!/usr/bin/env python3\n" {
		t.Errorf("exit %d\n%s", code, errOut)
	}
}

func TestTheClustersKustomizationIsHeldAgainstTheFiles(t *testing.T) {
	b := newBench(t)
	b.must("init", "--age", b.recipient)
	b.write("apps/a.yaml", sample)
	b.must("encrypt", "-i", "apps/a.yaml")
	flux := "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: apps, namespace: flux-system}\nspec:\n  path: ./apps\n"
	for decryption, want := range map[string]int{"": 1, "  decryption: {provider: sops}\n": 1, "  decryption: {provider: sops, secretRef: {name: age}}\n": 0} {
		b.write("flux.yaml", flux+decryption)
		if code, out, errOut := b.sluice("check", "--as-kustomization", "flux.yaml"); code != want {
			t.Errorf("%q: exit %d, want %d\n%s%s", decryption, code, want, out, errOut)
		}
	}
}
