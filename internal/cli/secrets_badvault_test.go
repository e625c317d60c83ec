package cli

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// A key service that is not there, says no, throttles or does not answer: each is named with the key, what to do, and
// leaves the file; the other files of the call are done.
func TestAKeyServiceThatFailsIsNamedAndOtherFilesAreDone(t *testing.T) {
	for name, tt := range map[string]struct {
		refuse func(w http.ResponseWriter, r *http.Request)
		want   string
	}{
		"denies": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"errors":["permission denied"]}`, http.StatusForbidden)
		}, "403"},
		"no key": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"errors":["encryption key not found"]}`, 404)
		}, "404"},
		"throttles": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		}, "429"},
		"hangs up": {func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				conn.Close()
			}
		}, "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			s := newKeyServices(t)
			b.env = append(b.env, s.env...)
			b.write("vault.yaml", sample)
			b.write("age.yaml", sample)
			b.must("encrypt", "--hc-vault-transit", s.vaultURI(), "-i", "vault.yaml")
			b.must("encrypt", "--age", b.recipient, "-i", "age.yaml")
			sealed, other := b.read("vault.yaml"), b.read("age.yaml")
			s.refuse = tt.refuse
			start := time.Now()
			code, out, errOut := b.sluice("rotate", "-i", "vault.yaml", "age.yaml")
			if code != 128 || !strings.Contains(errOut, "vault.yaml") || !strings.Contains(errOut, tt.want) || !strings.Contains(errOut, "  fix  ") || strings.Contains(errOut, "CANARY") {
				t.Errorf("exit %d\n%s%s", code, out, errOut)
			}
			if b.read("vault.yaml") != sealed || b.read("age.yaml") == other || time.Since(start) > 40*time.Second {
				t.Errorf("after %s: the file that failed was written, or the other one was not\n%s", time.Since(start), out)
			}
		})
	}
}

// A service that takes the connection and says nothing holds nobody longer than the limit, and no other file at all.
func TestAKeyServiceThatNeverAnswersEndsAtTheLimit(t *testing.T) {
	b := newBench(t)
	s := newKeyServices(t)
	b.env = append(append(b.env, s.env...), "SLUICE_KEY_TIMEOUT=1s")
	b.write("vault.yaml", sample)
	b.write("age.yaml", sample)
	b.write("new.yaml", sample)
	b.must("encrypt", "--hc-vault-transit", s.vaultURI(), "-i", "vault.yaml")
	b.must("encrypt", "--age", b.recipient, "-i", "age.yaml")
	sealed, other := b.read("vault.yaml"), b.read("age.yaml")
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	s.refuse = func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-over:
		}
	}
	start := time.Now()
	for _, args := range [][]string{{"rotate", "-i", "vault.yaml", "age.yaml"}, {"decrypt", "vault.yaml"}, {"encrypt", "--hc-vault-transit", s.vaultURI(), "-i", "new.yaml"}} {
		code, out, errOut := b.sluice(args...)
		if code != 128 || !strings.Contains(errOut, "no answer within 1s") || !strings.Contains(errOut, "hc_vault "+s.vaultURI()) || !strings.Contains(errOut, "  fix  ") || strings.Contains(out+errOut, "CANARY") {
			t.Errorf("%v: exit %d\n%s%s", args, code, out, errOut)
		}
	}
	if took := time.Since(start); took > 60*time.Second { // three limits, and the starts of a busy machine
		t.Errorf("it took %s", took)
	}
	if b.read("vault.yaml") != sealed || b.read("new.yaml") != sample || b.read("age.yaml") == other {
		t.Error("a file that failed was written, or the other one was not")
	}
	if code, _, errOut := b.process(os.Args[0], []string{"secrets", "decrypt", "age.yaml"}, "", "SLUICE_KEY_TIMEOUT=soon"); code == 0 || !strings.Contains(errOut, "SLUICE_KEY_TIMEOUT") {
		t.Errorf("a limit that is none: exit %d, %s", code, errOut)
	}
}
