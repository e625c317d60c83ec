package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
)

// The works on secrets, each beside the sops command, Key Vault being an emulator that takes 20 ms for each request.
const (
	secretsEncrypt = "encrypt %d new files, with a fetched public key"
	secretsOwn     = "decrypt %d files, each its own data key"
	secretsShared  = "decrypt %d files under a shared data key"
	secretsSeal    = "seal 1 MB of YAML, 10,000 values"
	secretsOpen    = "open 1 MB of YAML, 10,000 values"
)

// sealings is how often a run seals and opens the large file, and how often Sluice works on the many files: once is too
// short to measure, while sops, started for each of them, is a mean of that many processes already.
const sealings = 5

// secretsBench is one folder with a repository for each program, equal but for who works on it.
type secretsBench struct {
	*options
	r     *results
	n     int // files
	dir   string
	vault *slowVault
}

// measureSecrets measures what `sluice secrets` does beside what sops does, with n files. People run sops once for each
// file, because it takes one.
func (o *options) measureSecrets(ctx context.Context, r *results, n int) (err error) {
	dir, remove, err := o.folder()
	if err != nil {
		return err
	}
	defer remove()
	b := &secretsBench{options: o, r: r, n: n, dir: dir}
	if b.vault, err = startSlowVault(ctx, filepath.Join(o.bin, "slowvault"), filepath.Join(dir, "azure")); err != nil {
		return err
	}
	defer b.vault.stop()
	for _, step := range []func(context.Context) error{b.encrypt, b.decryptOwn, b.decryptShared, b.large} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (b *secretsBench) work(name string) string {
	if strings.Contains(name, "%d") {
		return fmt.Sprintf(name, b.n)
	}
	return name
}

func (b *secretsBench) folderOf(who string) string { return filepath.Join(b.dir, who) }

func (b *secretsBench) file(who string, i int) string {
	return filepath.Join(b.folderOf(who), "apps", fmt.Sprintf("app-%04d", i), "secret.yaml")
}

func plainSecret(i int) []byte {
	return fmt.Appendf(nil, "apiVersion: v1\nkind: Secret\nmetadata:\n    name: app-%04d\nstringData:\n    user: app-%04d\n    password: correct-horse-%04d\n", i, i, i)
}

// command is a program in somebody's repository with the developer's rights.
func (b *secretsBench) command(ctx context.Context, who string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(b.bin, who), args...)
	cmd.Dir = b.folderOf(who)
	cmd.Env = append([]string{"HOME=" + b.dir, "PATH=" + os.Getenv("PATH"), "SOPS_AGE_KEY_FILE=" + filepath.Join(b.dir, "age.key")}, b.vault.Developer...)
	return cmd
}

func output(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}

// sluice runs `sluice secrets` once for all files.
func (b *secretsBench) sluice(ctx context.Context, args ...string) func() error {
	return func() error { return output(b.command(ctx, "sluice", append([]string{"secrets"}, args...)...)) }
}

// sops runs sops for one file after the other.
func (b *secretsBench) sops(ctx context.Context, verb string) func() error {
	return func() error {
		for i := range b.n {
			if err := output(b.command(ctx, "sops", verb, "-i", b.file("sops", i))); err != nil {
				return err
			}
		}
		return nil
	}
}

// several measures a few times what Sluice does with all files, each time from the files as they stand now.
func (b *secretsBench) several(work string, do func() error) error {
	now := make([][]byte, b.n)
	for i := range now {
		var err error
		if now[i], err = os.ReadFile(b.file("sluice", i)); err != nil {
			return err
		}
	}
	for range sealings {
		for i, data := range now {
			if err := os.WriteFile(b.file("sluice", i), data, 0o644); err != nil {
				return err
			}
		}
		if err := b.timed("sluice", work, do); err != nil {
			return err
		}
	}
	return nil
}

// timed adds what do takes of time and asks of the vault.
func (b *secretsBench) timed(who, work string, do func() error) error {
	before, err := b.vault.requests()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := do(); err != nil {
		return err
	}
	wall := time.Since(began).Seconds()
	after, err := b.vault.requests()
	if err != nil {
		return err
	}
	spent := func(prefix string) (n float64) {
		for kind, count := range after {
			if strings.HasPrefix(kind, prefix) {
				n += float64(count - before[kind])
			}
		}
		return n
	}
	work = b.work(work)
	b.r.add(who, work, "wall", "s", wall)
	b.r.add(who, work, "challenges", "requests", spent("keyvault/challenge"))
	b.r.add(who, work, "authorized vault requests", "requests", spent("keyvault/")-spent("keyvault/challenge"))
	b.r.add(who, work, "tokens", "requests", spent("entra/token"))
	progress("%s: %s: %.2f s, %.0f vault requests", who, work, wall, spent("keyvault/"))
	return nil
}

// encrypt seals new files: sops asks the vault to wrap each data key, Sluice has the public half in the repository.
func (b *secretsBench) encrypt(ctx context.Context) error {
	rule := "creation_rules:\n  - encrypted_regex: ^(data|stringData)$\n    azure_keyvault: " + b.vault.Key + "\n"
	for _, who := range []string{"sops", "sluice"} {
		for i := range b.n {
			if err := os.MkdirAll(filepath.Dir(b.file(who, i)), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(b.file(who, i), plainSecret(i), 0o644); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(b.folderOf(who), ".sops.yaml"), []byte(rule), 0o644); err != nil {
			return err
		}
	}
	if err := b.sluice(ctx, "keys", "fetch", b.vault.Key)(); err != nil {
		return err
	}
	if err := b.timed("sops", secretsEncrypt, b.sops(ctx, "encrypt")); err != nil {
		return err
	}
	return b.several(secretsEncrypt, b.sluice(ctx, "encrypt", "-i", "apps"))
}

func (b *secretsBench) decryptOwn(ctx context.Context) error { return b.decrypt(ctx, secretsOwn) }

// decryptShared seals the files under one data key, for both programs.
func (b *secretsBench) decryptShared(ctx context.Context) error {
	if err := b.sluice(ctx, "encrypt", "-i", "apps")(); err != nil {
		return err
	}
	if err := b.sluice(ctx, "rotate", "-i", "--share-data-key", "apps")(); err != nil {
		return err
	}
	return b.decrypt(ctx, secretsShared)
}

// decrypt opens the files that stand in Sluice's repository with both programs, and holds both against the plaintext.
func (b *secretsBench) decrypt(ctx context.Context, work string) error {
	for i := range b.n {
		data, err := os.ReadFile(b.file("sluice", i))
		if err != nil {
			return err
		}
		if bytes.Contains(data, []byte("correct-horse")) {
			return fmt.Errorf("%s: a file is not sealed", work)
		}
		if err := os.WriteFile(b.file("sops", i), data, 0o644); err != nil {
			return err
		}
	}
	if err := b.timed("sops", work, b.sops(ctx, "decrypt")); err != nil {
		return err
	}
	if err := b.several(work, b.sluice(ctx, "decrypt", "-i", "apps")); err != nil {
		return err
	}
	for _, who := range []string{"sops", "sluice"} {
		for i := range b.n {
			if data, err := os.ReadFile(b.file(who, i)); err != nil || !bytes.Equal(data, plainSecret(i)) {
				return fmt.Errorf("%s: %s did not open %s to what it was: %w", work, who, b.file(who, i), err)
			}
		}
	}
	return nil
}

// large seals and opens one large file for an age key: no network, the program alone.
func (b *secretsBench) large(ctx context.Context) error {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(b.dir, "age.key"), []byte(id.String()+"\n"), 0o600); err != nil {
		return err
	}
	plain := megabyte()
	for _, who := range []string{"sops", "sluice"} {
		at := func(name string) string { return filepath.Join(b.folderOf(who), name) }
		if err := os.WriteFile(at("large.yaml"), plain, 0o644); err != nil {
			return err
		}
		if err := os.Remove(at(".sops.yaml")); err != nil {
			return err
		}
		var prefix []string
		if who == "sluice" {
			prefix = []string{"secrets"}
		}
		for range sealings {
			seal := b.command(ctx, who, append(prefix, "encrypt", "--age", id.Recipient().String(), "--encrypted-regex", "^(data|stringData)$", "--output", "sealed.yaml", "large.yaml")...)
			if err := b.process(who, secretsSeal, seal); err != nil {
				return err
			}
			if err := b.process(who, secretsOpen, b.command(ctx, who, append(prefix, "decrypt", "--output", "opened.yaml", "sealed.yaml")...)); err != nil {
				return err
			}
			if opened, err := os.ReadFile(at("opened.yaml")); err != nil || !bytes.Equal(opened, plain) {
				return fmt.Errorf("%s did not open the large file to what it was: %w", who, err)
			}
		}
	}
	return nil
}

// process adds time and memory of one process.
func (b *secretsBench) process(who, work string, cmd *exec.Cmd) error {
	began := time.Now()
	peak, err := peakAnonymous(cmd)
	if err != nil {
		return err
	}
	b.r.add(who, work, "wall", "s", time.Since(began).Seconds())
	b.r.add(who, work, "CPU", "s", (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds())
	b.r.add(who, work, ownMemory, "MB", peak)
	b.r.add(who, work, "peak resident, with the program's file", "MB", maxResident(cmd))
	return nil
}

// megabyte is a Secret of 10,000 values, as sops writes it.
func megabyte() []byte {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	r := rand.New(rand.NewPCG(1, 2))
	b := bytes.NewBufferString("apiVersion: v1\nkind: Secret\nmetadata:\n    name: large\nstringData:\n")
	value := make([]byte, 88)
	for i := range 10_000 {
		for j := range value {
			value[j] = letters[r.IntN(len(letters))]
		}
		fmt.Fprintf(b, "    key%05d: %s\n", i, value)
	}
	return b.Bytes()
}

var secretsWorks = []string{secretsEncrypt, secretsOwn, secretsShared, secretsSeal, secretsOpen}

// isSecrets tells these works from the others, whatever their number of files.
func isSecrets(work string) bool {
	for _, w := range secretsWorks {
		before, after, counted := strings.Cut(w, "%d")
		if work == w || counted && strings.HasPrefix(work, before) && strings.HasSuffix(work, after) {
			return true
		}
	}
	return false
}

const secretsHead = `
## Secrets

` + "`sluice secrets`" + ` beside the sops command, in the same run. Key Vault is the emulator, which takes 20 ms for each request; sops
is run once for each file, in series, because it takes one; Sluice is run once for all, and its median of five runs
counts. Sealing and opening the large file needs no network. Memory of its own is what a process takes of the machine
besides its program file, whose pages the kernel shares between processes and takes back at will; the line below it
counts them in.

The controller is not in the table, because what it asks of the vault is exact, and a test asserts it
(` + "`reconcile: TestFiveHundredSealedSecretsAreUnwrappedOnce`" + `): 500 sealed Secrets cost one challenge and 500
requests to decrypt; the second reconcile, and the same Kustomization made anew, none. Flux asks twice for each, every time.

| work | measured | sops | Sluice | sops ÷ Sluice | target | |
|---|---|---:|---:|---:|---|---|
`
