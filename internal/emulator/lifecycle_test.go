package emulator_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/sluice-gitops/sluice/internal/emulator"
)

func TestEverythingIsThereAgainAfterARestart(t *testing.T) {
	dir := t.TempDir()
	first, clientID := onboarded(t, emulator.Options{Dir: dir})
	env := first.Env()
	sealed, err := first.keys("sample", first.developer()).Encrypt(t.Context(), "sops", "", azkeys.KeyOperationParameters{Algorithm: oaep256, Value: []byte("kept")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token := first.developerToken("https://vault.azure.net")
	first.Stop()

	read, err := emulator.ReadEnvironment(dir)
	if err != nil || read != env {
		t.Errorf("ReadEnvironment: %+v, %v", read, err)
	}
	second := start(t, emulator.Options{Dir: dir})
	if second.Env() != env || second.CAFile() != first.CAFile() {
		t.Errorf("environment %+v, was %+v", second.Env(), env)
	}
	if r := second.do("GET", "https://sample.vault.azure.net/keys/sops?api-version=7.4", token, nil); r.status != 200 {
		t.Errorf("a token from before: %d %s", r.status, r.body)
	}
	opened, err := second.keys("sample", second.workload(clientID)).Decrypt(t.Context(), "sops", "", azkeys.KeyOperationParameters{Algorithm: oaep256, Value: sealed.Result}, nil)
	if err != nil || string(opened.Result) != "kept" {
		t.Errorf("opened %q, %v", opened.Result, err)
	}
	if _, err := emulator.ReadEnvironment(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty folder: %v", err)
	}
}

func TestAnOpenedEmulatorCanBeClosedUnserved(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		e, err := emulator.Open(emulator.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAFullDiskIsToldAndLosesNothing(t *testing.T) {
	a, _ := onboarded(t, emulator.Options{})
	token := a.developerToken("https://vault.azure.net")
	a.RefuseWrites(fmt.Errorf("pretended: %w", syscall.ENOSPC))
	if r := a.arm("PUT", group+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/late", object{"location": "westeurope"}); r.status != 507 || dig(r.json(t), "error", "code") != "InsufficientStorage" {
		t.Errorf("manager: %d %s", r.status, r.body)
	}
	if r := a.do("POST", "https://sample.vault.azure.net/keys/late/create?api-version=7.4", token, object{"kty": "RSA"}); r.status != 507 {
		t.Errorf("vault: %d %s", r.status, r.body)
	}
	if r := a.do("GET", "https://sample.vault.azure.net/keys/late?api-version=7.4", token, nil); r.status != 404 {
		t.Errorf("the key that could not be kept: %d", r.status)
	}
	a.RefuseWrites(errors.New("broken disk"))
	if r := a.arm("DELETE", group, nil); r.status != 500 {
		t.Errorf("another error: %d %s", r.status, r.body)
	}
	a.RefuseWrites(nil)
	roundTrip(t, a.keys("sample", a.developer()))
}

func TestConcurrentClientsSeeACoherentAzure(t *testing.T) {
	a, clientID := onboarded(t, emulator.Options{})
	sealed, err := a.keys("sample", a.developer()).Encrypt(t.Context(), "sops", "", azkeys.KeyOperationParameters{Algorithm: oaep256, Value: []byte("v")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for n := range 8 {
		client, own := a.keys("sample", a.workload(clientID)), a.keys("sample", a.developer())
		all.Go(func() {
			for range 5 {
				opened, err := client.Decrypt(t.Context(), "sops", "", azkeys.KeyOperationParameters{Algorithm: oaep256, Value: sealed.Result}, nil)
				if err != nil || string(opened.Result) != "v" {
					t.Errorf("opened %q, %v", opened.Result, err)
				}
			}
		})
		all.Go(func() {
			if _, err := own.UpdateKey(t.Context(), "sops", "", azkeys.UpdateKeyParameters{Tags: map[string]*string{"n": to.Ptr(fmt.Sprint(n))}}, nil); err != nil {
				t.Error(err)
			}
			a.mustARM("PUT", fmt.Sprintf("%s/providers/Microsoft.ManagedIdentity/userAssignedIdentities/many%d", group, n), object{"location": "westeurope"})
		})
	}
	all.Wait()
	if n := len(a.mustARM("GET", group+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities", nil)["value"].([]any)); n != 9 {
		t.Errorf("%d identities, want 9", n)
	}
	if got := a.Requests()["keyvault/decrypt"]; got != 40 {
		t.Errorf("%d decrypts counted, want 40", got)
	}
}

// syncBuffer takes the log of concurrent requests.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestLogNamesRequestsButNoSecret(t *testing.T) {
	log := &syncBuffer{}
	a, clientID := onboarded(t, emulator.Options{Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	roundTrip(t, a.keys("sample", a.developer()))
	token := a.developerToken("https://vault.azure.net")
	a.do("GET", "https://sample.vault.azure.net/keys/sops?api-version=7.4&secret=in-the-query", token, nil)
	assertion := a.assertion(nil)
	a.do("POST", a.tokenURL(), "", form{"grant_type": "client_credentials", "client_id": clientID, "client_assertion": assertion}.encode())
	a.Stop() // so that the last record is written
	text := log.String()
	for _, want := range []string{"operation=token", "operation=decrypt", "operation=put-vault", "host=sample.vault.azure.net", "status=200"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	signature := func(jwt string) string { return jwt[strings.LastIndex(jwt, ".")+1:] }
	for _, secret := range []string{a.Env().DeveloperSecret, signature(token), signature(assertion), "in-the-query", "0123456789abcdef"} {
		if strings.Contains(text, secret) {
			t.Errorf("the log contains a secret")
		}
	}
}
