package secrets

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-gitops/sluice/internal/azure/keyvault"
	"github.com/sluice-gitops/sluice/internal/keyring"
	"github.com/sluice-gitops/sluice/internal/secrets/files"
	"github.com/sluice-gitops/sluice/internal/sops/recipient"
)

// Cancelled in the middle, a run leaves whole files, done or as they were; the next one does the rest and nothing twice.
// No vault is asked: the public halves are at hand, and an age key opens.
func TestAnInterruptedRotationGoesOnWhereItStopped(t *testing.T) {
	id := newIdentity(t)
	t.Setenv("SOPS_AGE_KEY", id.String())
	key := func(version string) keyvault.KeyID {
		return keyvault.KeyID{Vault: "https://v.vault.azure.net", Name: "sops", Version: strings.Repeat(version, 32)}
	}
	public := map[keyvault.KeyID]*rsa.PublicKey{}
	for _, v := range []string{"1", "2"} {
		private, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		public[key(v)] = &private.PublicKey
	}
	dir := t.TempDir()
	e := Engine{Keys: library{}, Wrap: keyring.Wrapper{Azure: public}.Wrap, Groups: func() ([]recipient.Group, error) {
		g, err := Recipients{Age: id.Recipient().String(), AzureKV: key("1").String()}.Keys()
		return []recipient.Group{g}, err
	}}
	var entries []files.Entry
	old := map[string][]byte{}
	for i := range 9 {
		path := filepath.Join(dir, fmt.Sprintf("%d.yaml", i))
		out, err := e.Encrypt(t.Context(), path, []byte("password: a\n"), false)
		if err != nil {
			t.Fatal(err)
		}
		old[path] = out.Data
		if err := os.WriteFile(path, out.Data, 0o644); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, files.Entry{Path: path})
	}
	newest := func(context.Context, keyvault.KeyID) (keyvault.KeyID, error) { return key("2"), nil }
	run := func(ctx context.Context, after func(done int)) (did, failed int) {
		for _, r := range files.Run(ctx, entries, 1, func(done int, _ string) { after(done) }, func(ctx context.Context, at files.Entry) files.Result {
			file, err := files.Read(at.Path)
			if err != nil {
				return files.Result{Err: err}
			}
			out, err := e.RotateOutdated(ctx, at.Path, file.Data, newest, false, false)
			if err == nil && out.Data != nil {
				err = file.Replace(out.Data)
			}
			return files.Result{Did: out.Did, Err: err}
		}) {
			switch {
			case r.Err != nil && !errors.Is(r.Err, context.Canceled):
				t.Errorf("%s: %v", r.Path, r.Err)
			case r.Err != nil:
				failed++
			case r.Did == "re-wrapped":
				did++
			}
		}
		return did, failed
	}
	state := func() (renewed int) {
		for path, was := range old {
			now, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Equal(now, was) {
				continue
			}
			renewed++
			if out, err := e.Decrypt(t.Context(), path, now, nil, false); err != nil || string(out.Data) != "password: a\n" || !bytes.Contains(now, []byte(key("2").Version)) || bytes.Contains(now, []byte(key("1").Version)) {
				t.Errorf("%s is neither old nor new: %v", path, err)
			}
		}
		return renewed
	}
	ctx, cancel := context.WithCancel(t.Context())
	did, left := run(ctx, func(done int) {
		if done == 3 {
			cancel()
		}
	})
	if did < 3 || left == 0 || did+left != len(entries) || state() != did {
		t.Fatalf("interrupted: %d done, %d left, %d of them on the disk", did, left, state())
	}
	if again, left := run(t.Context(), func(int) {}); again != len(entries)-did || left != 0 || state() != len(entries) {
		t.Errorf("resumed: %d done of %d, %d left", again, len(entries)-did, left)
	}
	if again, _ := run(t.Context(), func(int) {}); again != 0 {
		t.Errorf("a third run wrote %d files", again)
	}
}
