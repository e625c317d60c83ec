package cli

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/sluice-gitops/sluice/internal/emulator/proxy"
)

// The test binary is sluice when it is called as "… azure …": a process that a test can kill.
func init() {
	if len(os.Args) > 1 && os.Args[1] == "azure" {
		os.Exit(Run(context.Background(), os.Args[1:], System()))
	}
}

// door is the one way from a process to a subscription. It sees each request before it is carried out and after, one at
// a time, and can kill the process at either.
type door struct {
	sub *subscription
	url string // of the proxy that it is
	ca  string // file of the certificate that its processes must trust

	// before is asked ahead of each request but those for tokens, after when it is carried out and not yet answered. A
	// true answer kills the process there. nil: never.
	before, after func(*http.Request) bool

	tty *os.File // stdin and stderr of its processes; nil: nobody is there
	out string   // what the last one printed on stdout

	one sync.Mutex // held while a request is carried out

	mu      sync.Mutex
	process *exec.Cmd
	gone    chan struct{} // closed when process is
	killed  bool
}

// openDoor serves until the test ends.
func openDoor(t testing.TB, sub *subscription) *door {
	t.Helper()
	d := &door{sub: sub}
	authority, err := proxy.OpenAuthority(t.TempDir(), []string{"azure.com", "azure.net", "microsoftonline.com", "windows.net"})
	if err != nil {
		t.Fatal(err)
	}
	p, err := proxy.Listen(proxy.Config{
		Addr: "127.0.0.1:0", Authority: authority, Azure: d, Count: func(string) {},
		Emulated: func(string) (bool, error) { return true, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Serve(ctx) }()
	t.Cleanup(func() {
		d.kill()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	d.url, d.ca = "http://"+p.Addr(), authority.File()
	return d
}

// ServeHTTP carries a request to the subscription and its answer back.
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	counts := r.Host != "login.microsoftonline.com"
	if counts {
		d.one.Lock()
		defer d.one.Unlock()
	}
	if d.wasKilled() {
		panic(http.ErrAbortHandler) // it came before the process was killed, and is not carried out
	}
	if counts && d.before != nil && d.before(r) {
		d.kill()
		panic(http.ErrAbortHandler)
	}
	res, body, err := d.carry(r)
	if counts && d.after != nil && d.after(r) {
		d.kill()
		panic(http.ErrAbortHandler)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	maps.Copy(w.Header(), res.Header)
	w.WriteHeader(res.StatusCode)
	_, _ = w.Write(body)
}

// carry asks the subscription. What is asked is asked, even if the process is gone meanwhile.
func (d *door) carry(r *http.Request) (*http.Response, []byte, error) {
	in, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, nil, err
	}
	req, err := http.NewRequest(r.Method, "https://"+r.Host+r.URL.RequestURI(), bytes.NewReader(in))
	if err != nil {
		return nil, nil, err
	}
	req.Header = r.Header.Clone()
	req.Header.Del("Accept-Encoding")
	res, err := d.sub.http.Transport.RoundTrip(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res, body, err
}

func (d *door) wasKilled() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.killed
}

// kill ends the process by SIGKILL and waits until it is gone.
func (d *door) kill() {
	d.mu.Lock()
	p, gone := d.process, d.gone
	d.killed = d.killed || p != nil
	d.mu.Unlock()
	if p != nil {
		_ = p.Process.Kill()
		<-gone
	}
}

// sluice runs `sluice azure args` as a process behind the door until it ends, or is killed: then code is -1.
func (d *door) sluice(t testing.TB, args ...string) (code int, stderr string) {
	t.Helper()
	env := d.sub.Env()
	c := exec.Command(os.Args[0], append([]string{"azure"}, args...)...)
	c.Env = []string{
		"HOME=" + os.TempDir(), "NO_COLOR=1", "HTTPS_PROXY=" + d.url, "SSL_CERT_FILE=" + d.ca, "AZURE_TENANT_ID=" + env.TenantID,
		"AZURE_CLIENT_ID=" + env.DeveloperClientID, "AZURE_CLIENT_SECRET=" + env.DeveloperSecret, "AZURE_SUBSCRIPTION_ID=" + env.SubscriptionID,
	}
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if d.tty != nil {
		c.Stdin, c.Stderr = d.tty, d.tty
	}
	gone := make(chan struct{})
	d.mu.Lock()
	err := c.Start()
	if err == nil {
		d.process, d.gone, d.killed = c, gone, false
	}
	d.mu.Unlock()
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	_ = c.Wait() // killed, as a rule
	d.mu.Lock()
	d.process = nil
	d.mu.Unlock()
	close(gone)
	d.out = out.String()
	return c.ProcessState.ExitCode(), errs.String()
}

// changes says whether a request may change something.
func changes(r *http.Request) bool {
	return r.Method != http.MethodGet && r.Method != http.MethodHead && !strings.HasSuffix(r.URL.Path, "/checkNameAvailability")
}
