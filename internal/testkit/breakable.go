package testkit

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// Breakable is an API server of one test's own, to be killed and started again. Its etcd goes on meanwhile.
type Breakable struct {
	*Env
	t      testing.TB
	server *server
	argv   []string // of kube-apiserver
	cmd    *exec.Cmd
}

// ClusterToBreak starts an etcd and an API server that nobody else uses; they end with the test.
func ClusterToBreak(t testing.TB) *Breakable {
	t.Helper()
	s, err := startServer()
	if err != nil {
		t.Fatal(err)
	}
	env := *s.env
	env.Config = rest.CopyConfig(env.Config)
	b := &Breakable{Env: &env, t: t, server: s}
	t.Cleanup(func() {
		if b.cmd != nil {
			_ = b.cmd.Process.Kill()
			_ = b.cmd.Wait()
		}
		if err := s.stop(); err != nil {
			t.Errorf("stop the API server: %v", err)
		}
	})
	return b
}

// Kill ends the API server by SIGKILL and waits until nobody answers.
func (b *Breakable) Kill() {
	b.t.Helper()
	if b.cmd != nil {
		_ = b.cmd.Process.Kill()
		_ = b.cmd.Wait()
		b.cmd = nil
		return
	}
	pid, argv := b.find()
	b.argv = argv
	p, err := os.FindProcess(pid)
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		b.t.Fatal(err)
	}
	Eventually(b.t, 20*time.Second, func() error {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
			return fmt.Errorf("kube-apiserver (pid %d) is still there", pid)
		}
		return nil
	})
}

// find returns the process of this very kube-apiserver: the one child that was started by its link.
func (b *Breakable) find() (pid int, argv []string) {
	b.t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		b.t.Fatal(err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			continue // it just ended
		}
		args := strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
		if args[0] == filepath.Join(b.server.dir, "kube-apiserver") {
			if pid, err = strconv.Atoi(filepath.Base(filepath.Dir(name))); err != nil {
				b.t.Fatal(err)
			}
			return pid, args
		}
	}
	b.t.Fatal("no kube-apiserver runs")
	return 0, nil
}

// Start starts the API server again as it was, on the same port, and waits until it is ready.
func (b *Breakable) Start() {
	b.t.Helper()
	b.cmd = exec.Command(b.argv[0], b.argv[1:]...)
	b.cmd.Stdout, b.cmd.Stderr = b.server.log, b.server.log
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	transport, err := rest.TransportFor(b.Config)
	if err != nil {
		b.t.Fatal(err)
	}
	c := http.Client{Transport: transport}
	Eventually(b.t, startTimeout, func() error {
		res, err := c.Get(b.url() + "/readyz")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("readyz: %s", res.Status)
		}
		return nil
	})
}

func (b *Breakable) url() string {
	host := strings.TrimSuffix(b.Config.Host, "/") // or the path would begin with two
	if strings.Contains(host, "://") {
		return host
	}
	return "https://" + host
}

// Compact makes etcd forget every revision but the newest, so that a watch of an API server that has just started can't
// go on from an older one. It speaks to etcd's own JSON gateway.
func (b *Breakable) Compact() {
	b.t.Helper()
	etcd := strings.TrimSuffix(b.server.envtest.ControlPlane.Etcd.URL.String(), "/")
	post := func(path, body string) []byte {
		res, err := http.Post(etcd+path, "application/json", strings.NewReader(body))
		if err != nil {
			b.t.Fatal(err)
		}
		defer res.Body.Close()
		data, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			b.t.Fatalf("etcd %s: %s %s %v", path, res.Status, data, err)
		}
		return data
	}
	_, rest, ok := bytes.Cut(post("/v3/kv/range", `{"key":"AA==","limit":"1"}`), []byte(`"revision":"`))
	revision, _, _ := bytes.Cut(rest, []byte(`"`))
	if !ok {
		b.t.Fatal("etcd tells no revision")
	}
	post("/v3/kv/compaction", fmt.Sprintf(`{"revision":%q,"physical":true}`, revision))
}
